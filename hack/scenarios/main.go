// Command scenarios runs "go test -json" and prints what the tests print, as it comes. At the end it repeats what the
// failed tests said, because that is far up in a long log, and prints how many seconds each scenario took, slowest
// first.
//
//	go run ./hack/scenarios [-table FILE] go test -json ...
//
// A scenario is a test, or a parallel part of a test. The table is also written to FILE.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	file := flag.String("table", "", "also write the table to this file")
	flag.Parse()
	code, err := run(*file, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the exit code of the command.
func run(file string, command []string) (int, error) {
	if len(command) == 0 {
		return 2, errors.New("no command: give it \"go test -json\" with its arguments")
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	l := newLog()
	reader := bufio.NewReader(out)
	for {
		line, err := reader.ReadBytes('\n')
		if _, err := os.Stdout.WriteString(l.add(line)); err != nil {
			return 1, err
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	fmt.Print(l.failures())
	table := l.table()
	fmt.Print(table)
	if file != "" {
		if err := os.WriteFile(file, []byte(table), 0o644); err != nil {
			return 1, err
		}
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
