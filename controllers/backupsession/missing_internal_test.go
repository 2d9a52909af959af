package backupsession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// Two sessions of one target back up into one Repository: nightly everything, hourly only what changes a lot (the
// parameter paths or databases). What the hourly session leaves out on purpose is not missing, and a component that the
// nightly one has lost is, although an hourly backup came in between.
func TestWhatIsMissingIsThatOfTheSession(t *testing.T) {
	for name, tt := range map[string]struct {
		session string
		runs    []string // session of each earlier Snapshot, oldest first
		now     []string
		want    []string
	}{
		"an hourly run after a nightly one": {"hourly", []string{"hourly", "nightly"}, []string{"data"}, nil},
		"a nightly run that lost a volume, after an hourly one": {
			"nightly", []string{"nightly", "hourly"}, []string{"data"}, []string{"media"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			target := runtest.Target("a", tt.now...)
			b := fake.NewClientBuilder().WithScheme(scheme)
			g.Expect(snapshotsByRepository.Register(t.Context(), testbed.Indexes{ClientBuilder: b})).To(Succeed())
			for i, session := range tt.runs {
				s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: session}}
				s.Spec.Repository, s.Spec.Session, s.Spec.AppRef = "a", session, target.AppRef
				s.Status.Phase = v1alpha1.SnapshotSucceeded
				s.Status.SnapshotTime = &metav1.Time{Time: runtest.Now.Add(time.Duration(i-9) * time.Hour)}
				s.Status.Components = map[string]v1alpha1.Component{"data": {Phase: v1alpha1.SnapshotSucceeded}}
				if session == "nightly" {
					s.Status.Components["media"] = v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded}
				}
				b.WithObjects(s)
			}
			run := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run"}}
			run.Spec.Session = tt.session
			in := backup.Input{Now: runtest.Now, Session: run, Start: &backup.Start{
				Targets: []backup.StartTarget{{Resolved: target}},
			}}
			r := &Reconciler{Client: b.Build()}
			g.Expect(r.missing(t.Context(), in)).To(Succeed())
			if tt.want == nil {
				g.Expect(in.Start.Targets[0].Missing).To(BeEmpty())
			} else {
				g.Expect(in.Start.Targets[0].Missing).To(Equal(tt.want))
			}
		})
	}
}
