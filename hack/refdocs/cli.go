package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/cairn-backup/cairn/internal/cli"
)

// cairn runs the command line as a user would. It returns the output of both streams and the exit code.
func cairn(args ...string) (string, int) {
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	code := cli.Run(context.Background(), cli.Options{IOStreams: streams, Program: "cairn", Width: 120}, args)
	return out.String(), code
}

// cliPage shows the output of --help of each command, parents before children.
func cliPage() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# Command line\n\n" + paragraph(
		"This page shows the output of `cairn COMMAND --help`. As a plug-in of kubectl the program is called "+
			"`kubectl cairn`."))
	if err := writeHelp(&out, nil); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// listed finds the commands in the output of --help.
var listed = regexp.MustCompile(`(?m)^  (?:cairn )*([a-z-]+) +\S`)

// sections of a help text that list commands.
var sections = []string{"Available Commands:\n", "Additional help topics:\n"}

// writeHelp writes the section of one command and those of its subcommands.
func writeHelp(out io.Writer, command []string) error {
	text, code := cairn(append(append([]string{}, command...), "--help")...)
	if code != cli.ExitOK {
		return fmt.Errorf("cairn %s --help: exit code %d: %s", strings.Join(command, " "), code, text)
	}
	fmt.Fprintf(out, "\n## %s\n\n```\n%s```\n", strings.Join(append([]string{"cairn"}, command...), " "), text)
	for _, section := range sections {
		_, list, found := strings.Cut(text, section)
		if !found {
			continue
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range listed.FindAllStringSubmatch(list, -1) {
			if m[1] == "help" { // It shows the help of the other commands.
				continue
			}
			if err := writeHelp(out, append(append([]string{}, command...), m[1])); err != nil {
				return err
			}
		}
	}
	return nil
}
