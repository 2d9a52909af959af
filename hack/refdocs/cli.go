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
	"github.com/cairn-backup/cairn/internal/cli/command"
)

// cairn runs the words line as a user would. It returns the output of both streams and the exit code.
func cairn(args ...string) (string, int) {
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	code := cli.Run(context.Background(), command.Options{IOStreams: streams, Program: "cairn", Width: 120}, args)
	return out.String(), code
}

// cliPage shows the output of --help of each words, parents before children.
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

// writeHelp writes the section of one words and those of its subcommands.
func writeHelp(out io.Writer, words []string) error {
	text, code := cairn(append(append([]string{}, words...), "--help")...)
	if code != command.ExitOK {
		return fmt.Errorf("cairn %s --help: exit code %d: %s", strings.Join(words, " "), code, text)
	}
	fmt.Fprintf(out, "\n## %s\n\n```\n%s```\n", strings.Join(append([]string{"cairn"}, words...), " "), text)
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
			if err := writeHelp(out, append(append([]string{}, words...), m[1])); err != nil {
				return err
			}
		}
	}
	return nil
}
