package main

import (
	"bytes"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/task"
)

func TestSubcommands(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout string
	}{
		"version":                      {args: []string{"version"}, stdout: "unknown\n"},
		"help":                         {args: []string{"help"}, stdout: usage},
		"none":                         {code: task.ExitInvalidTask},
		"an unknown one":               {args: []string{"destroy"}, code: task.ExitInvalidTask},
		"trigger with an unknown flag": {args: []string{"trigger", "--x"}, code: task.ExitInvalidTask},
		"install without a directory":  {args: []string{"install"}, code: task.ExitInvalidTask},
		"install where nothing is":     {args: []string{"install", "/nowhere/at/all"}, code: task.ExitFailed},
		"backup with an argument":      {args: []string{"backup", "everything"}, code: task.ExitInvalidTask},
		"restore with backup's flag":   {args: []string{"restore", "--exclude=x"}, code: task.ExitInvalidTask},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var stdout, stderr bytes.Buffer
			g.Expect(run(t.Context(), tc.args, &stdout, &stderr)).To(Equal(tc.code), stderr.String())
			if tc.stdout != "" {
				g.Expect(stdout.String()).To(Equal(tc.stdout))
			}
		})
	}
}

func TestAnEmptyExcludeExcludesNothing(t *testing.T) {
	g := NewWithT(t)
	g.Expect(split("")).To(BeEmpty())
	g.Expect(split("*.tmp, /cache/,")).To(Equal([]string{"*.tmp", "/cache/"}))
}
