package mover_test

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestAProbeRefusesABackup(t *testing.T) {
	p := streaming(t)
	for name, tc := range map[string]struct{ probe, says string }{
		"with two lines": {
			"echo yes; echo 'lacks a'; echo 'lacks b'", "rows are missing; sh said: lacks a; lacks b",
		},
		"with half a line": {"printf 'yes\\r\\n lacks a'", "sh said: lacks a"},
		"after a very long one": {
			"head -c 1000000 /dev/zero; echo; printf 'lacks '; sleep 0.1; echo a", "sh said: lacks a",
		},
		"with very many": {
			"seq --format 'lacks %.0f' 100000",
			"said: lacks 1; lacks 2; lacks 3; lacks 4; and more",
		},
		"but not in the middle":  {"echo it lacks a", ""},
		"but not if it is empty": {":", ""},
		"but fails first": {
			"echo lacks a; echo no route >&2; exit 2", "the probe failed: sh ended with exit code 2: no route",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ran := filepath.Join(t.TempDir(), "ran")
			c := dumpOf("touch " + ran + "; echo rows")
			c.Stream.Probe = &v1alpha1.ResolvedProbe{
				ResolvedProgram: v1alpha1.ResolvedProgram{Command: []string{"/bin/sh", "-c", tc.probe}},
				Refuse: []v1alpha1.ResolvedRefusal{
					{Prefix: "none"}, {Prefix: "lacks ", Message: "rows are missing"},
				},
			}
			_, result := p.run(t.Context(), backupTask(name, c))
			if tc.says == "" {
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
				return
			}
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
			g.Expect(result.Message).To(HaveSuffix(tc.says))
			g.Expect(ran).NotTo(BeAnExistingFile())
		})
	}
}
