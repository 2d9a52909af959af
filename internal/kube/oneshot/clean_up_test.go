package oneshot

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// Post hooks come before the clean-up, and an end comes after it: nobody would clean up later. What the API server
// refuses to delete holds up neither; any other error is tried again before the end.
func TestTheStatusAndTheCleanUp(t *testing.T) {
	running, ended := v1alpha1.BackupSessionRunning, v1alpha1.BackupSessionFailed
	lost, forbidden := errors.New("connection lost"), testbed.Denied(http.StatusForbidden)
	for name, tt := range map[string]struct {
		base    decision.Base
		phase   v1alpha1.BackupSessionPhase
		deleted error
		want    []string
		after   time.Duration
		err     error
	}{
		"the work goes on": {phase: running, want: []string{"delete", "write"}},
		"post hooks begin": {
			base: decision.Base{Thaws: true, ThawBegins: true}, phase: running,
			want: []string{"write"},
		},
		"post hooks run": {
			base: decision.Base{Thaws: true}, phase: running,
			want: []string{"write", "delete"},
		},
		"the end": {phase: ended, want: []string{"delete", "write"}},
		"a refusal while the work runs": {
			phase: running, deleted: forbidden,
			want: []string{"delete", "write"}, after: movers.DeletedAgain,
		},
		"a refusal at the end": {
			phase: ended, deleted: forbidden,
			want: []string{"delete", "write"},
		},
		"an error while the work runs": {
			phase: running, deleted: lost,
			want: []string{"delete", "write"}, err: lost,
		},
		"an error at the end": {
			phase: ended, deleted: lost,
			want: []string{"delete"}, err: lost,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var did []string
			k := &kind{decide: func(input) Decision[v1alpha1.BackupSession] {
				d := decide(tt.base, tt.phase, true)
				set := d.SetStatus
				d.SetStatus = func(s *v1alpha1.BackupSession) {
					set(s)
					s.Status.Reason = "Written"
				}
				d.CleanUp = func() []movers.Deletion {
					return []movers.Deletion{{Name: "it", Do: func(context.Context) error {
						did = append(did, "delete")
						return tt.deleted
					}}}
				}
				return d
			}}
			writes := interceptor.Funcs{SubResourcePatch: func(
				ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch,
				opts ...client.SubResourcePatchOption,
			) error {
				did = append(did, "write")
				return c.SubResource(sub).Patch(ctx, o, patch, opts...)
			}}
			_, result, err := reconcileOnce(t, k, session(frozen), session(frozen), writes)
			g.Expect(did).To(Equal(tt.want))
			g.Expect(result.RequeueAfter).To(Equal(tt.after))
			if tt.err == nil {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(tt.err))
			}
		})
	}
}
