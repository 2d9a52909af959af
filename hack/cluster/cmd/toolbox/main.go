// Command toolbox is the workload of tests: a container without a shell still
// needs something to run, to exec into, and to fill and inspect volumes with.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
)

// command is one of the toolbox's functions.
type command struct {
	args string // for the usage
	what string
	need int // least number of arguments
	run  func(ctx context.Context, args []string) error
}

var commands = map[string]command{
	"idle":  {"", "do nothing until SIGTERM or SIGINT, then exit at once", 0, idle},
	"sleep": {"", "print a line, then do as idle", 0, sleep},
	"echo":  {"TEXT...", "print", 0, echo},
	"write": {"FILE TEXT...", "write and fsync, making directories", 2, write},
	"cat":   {"FILE...", "print files", 1, cat},
	"fill": {
		"DEVICE TEXT", "write what follows from a text all over a device, or a file as long as it is, and fsync",
		2, fill,
	},
	"sum":    {"FILE...", "print the SHA-256 sums of files or devices", 1, sum},
	"ls":     {"DIR", "list recursively with mode and size", 1, list},
	"env":    {"", "print the environment", 0, environment},
	"lookup": {"NAME", "resolve through the pod's resolver", 1, lookup},
	"get":    {"URL", "HTTP GET", 1, get},
	"api":    {"PATH", "GET from the API server with the pod's service account", 1, api},
	"serve":  {"ADDR DIR", "serve files over HTTP until SIGTERM or SIGINT", 2, serve},
	"untar":  {"DIR", "unpack a tar stream from standard input", 1, untar},
	"tar":    {"DIR", "pack a directory as a tar stream to standard output", 1, pack},
	"manifest": {
		"[--skip-root] DIR", "print all that a backup has to keep, a line for each entry, and a sum", 1, manifest,
	},
	"fixture":     {"DIR", "fill a directory with cases that are hard for backups", 1, fixture},
	"pairs":       {"DIR", "write paired files until SIGTERM or SIGINT", 1, writePairs},
	"check-pairs": {"DIR", "fail unless the paired files are as they were at one point in time", 1, checkPairs},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, errUsage) {
		fmt.Fprintln(os.Stderr, usage())
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "toolbox:", err)
		os.Exit(1)
	}
}

// errUsage is the error of arguments that the command does not have.
var errUsage = errors.New("wrong arguments")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	c, ok := commands[args[0]]
	if !ok || len(args)-1 < c.need {
		return errUsage
	}
	return c.run(ctx, args[1:])
}

func usage() string {
	var lines []string
	for name, c := range commands {
		lines = append(lines, fmt.Sprintf("  %-28s %s", strings.TrimSpace(name+" "+c.args), c.what))
	}
	sort.Strings(lines)
	return "usage: toolbox COMMAND [ARG...]\n" + strings.Join(lines, "\n")
}
