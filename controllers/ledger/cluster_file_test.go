package ledger

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A cluster that was made anew takes its folder over: somebody has corrected the UID by hand. The server leaves out
// contents, and hands out no single objects.
func TestACorrectedClusterFileIsUnderstood(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ comment, reason string }{
		"a comment":      {"# corrected after the disaster\n", v1alpha1.ReasonPushed},
		"a long comment": {"# " + strings.Repeat("long ", 500) + "\n", v1alpha1.ReasonGitOperationFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			w.git("config", "uploadpack.allowFilter", "true")
			w.settle(w.ledger("before"))
			text := tt.comment + "uid: cluster-2\nname: production\n"
			clone := filepath.Join(t.TempDir(), "clone")
			w.git("clone", "-q", "-b", branch, w.repo, clone)
			g.Expect(os.WriteFile(filepath.Join(clone, "clusters/production/cluster.yaml"), []byte(text), 0o600)).
				To(Succeed())
			w.git("-C", clone, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "correct the UID")
			w.git("-C", clone, "push", "-q", "origin", branch)

			w.reconciler.ClusterUID = "cluster-2"
			l := w.ledger("after")
			w.pass(time.Minute)
			g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
			g.Expect(ready(get(w, l)).Reason).To(Equal(tt.reason))
			if tt.reason != v1alpha1.ReasonPushed {
				g.Expect(ready(l).Message).
					To(ContainSubstring(`make the content exactly "name: production\nuid: cluster-2\n"`))
			}
		})
	}
}
