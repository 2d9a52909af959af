package main

import (
	"bytes"
	"io"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mover"
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
		"programs without a socket":    {args: []string{"programs"}, code: task.ExitInvalidTask},
		"programs where nothing is":    {args: []string{"programs", "/nowhere/at/all"}, code: task.ExitFailed},
		"install where nothing is":     {args: []string{"install", "/nowhere/at/all"}, code: task.ExitFailed},
		"backup with an argument":      {args: []string{"backup", "everything"}, code: task.ExitInvalidTask},
		"an invalid pattern":           {args: []string{"backup", "--exclude=["}, code: task.ExitInvalidTask},
		"restore with backup's flag":   {args: []string{"restore", "--exclude=x"}, code: task.ExitInvalidTask},
		"backup that ignores inodes":   {args: []string{"backup", "--ignore-inode=true"}, code: task.ExitInvalidTask},
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

func TestFullReads(t *testing.T) {
	for _, test := range []struct {
		args   []string
		want   mover.Flags
		refuse string
	}{
		{args: []string{"--full-read-every=", "--ignore-inode=false"}},
		{args: []string{"--full-read-every=168h"}, want: mover.Flags{FullReadEvery: 168 * time.Hour}},
		{
			args: []string{"--full-read-every=168h", "--ignore-inode=true"},
			want: mover.Flags{FullReadEvery: 168 * time.Hour, IgnoreInode: true},
		},
		{args: []string{"--full-read-every=weekly"}, refuse: `invalid --full-read-every: it is "weekly"`},
		{args: []string{"--full-read-every=-1h"}, refuse: `invalid --full-read-every: it is "-1h"`},
		{args: []string{"--ignore-inode=true"}, refuse: "invalid --full-read-every: files are compared without"},
	} {
		g := NewWithT(t)
		got, err := arguments(task.KindBackup, test.args, io.Discard)
		if test.refuse != "" {
			g.Expect(err).To(MatchError(ContainSubstring(test.refuse)))
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got.FullReadEvery).To(Equal(test.want.FullReadEvery))
		g.Expect(got.IgnoreInode).To(Equal(test.want.IgnoreInode))
	}
}

func TestAnEmptyExcludeExcludesNothing(t *testing.T) {
	g := NewWithT(t)
	g.Expect(split("")).To(BeEmpty())
	g.Expect(split("*.tmp, /cache/,")).To(Equal([]string{"*.tmp", "/cache/"}))
}
