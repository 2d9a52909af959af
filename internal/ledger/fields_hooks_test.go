package ledger

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A record says how hooks ended, but contains neither their definition nor their output.
func TestRecordsOfHooks(t *testing.T) {
	g := NewWithT(t)
	statuses := &v1alpha1.HookStatuses{
		PreHooks: []v1alpha1.HookStatus{{
			Name: "freeze", Phase: v1alpha1.HookFailed, Attempts: 3, StartTime: at(1), CompletionTime: at(2),
			Reason:  v1alpha1.ReasonCommandFailed,
			Message: "exit code 3", Stderr: "s3cr3t",
		}},
		PostHooks: []v1alpha1.HookStatus{{Name: "thaw", Phase: v1alpha1.HookSucceeded, Attempts: 1}},
	}
	resolved := &v1alpha1.ResolvedHooks{
		Pre: []v1alpha1.ResolvedHook{{Name: "freeze", Values: []v1alpha1.HookValue{{Name: "user", Value: "s3cr3t"}}}},
	}
	session, snapshots := run()
	session.Status.Hooks, session.Status.Resolved.Hooks = statuses, resolved
	session.Status.Targets[0].Hooks, session.Status.Resolved.Targets[0].Hooks = statuses, resolved
	backup, err := one(BackupRecord("production", session, snapshots))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(backup.Content, "name: thaw")).To(Equal(2), "of the run, and of its target")

	restored := restore()
	restored.Status.Hooks, restored.Status.Resolved.Hooks = statuses, resolved
	restored.Spec.Hooks = &v1alpha1.RestoreHooks{PreRestore: []v1alpha1.HookInfo{{
		Name: "freeze", HookTemplate: &v1alpha1.ObjectReference{Name: "t"},
		Params:    &apiextensionsv1.JSON{Raw: []byte(`{"user":"s3cr3t"}`)},
		Variables: []v1alpha1.HookVariable{{Name: "V", Value: "s3cr3t"}},
	}}}
	restoring, err := one(RestoreRecord("production", restored))
	g.Expect(err).NotTo(HaveOccurred())

	for _, r := range []Record{backup, restoring} {
		g.Expect(r.Content).To(And(ContainSubstring("attempts: 3"), ContainSubstring("reason: CommandFailed"),
			ContainSubstring("message: exit code 3"), ContainSubstring("name: thaw")))
		g.Expect(r.Content).NotTo(ContainSubstring("s3cr3t"))
	}
}
