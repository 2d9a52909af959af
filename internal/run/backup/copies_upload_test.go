package backup_test

import (
	"fmt"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
)

// Some storage systems upload a VolumeSnapshot before it can be used. The first upload of a large volume takes hours.
func TestAVolumeSnapshotThatIsTakenHasTheTimeToBecomeReady(t *testing.T) {
	t.Parallel()
	taken := func(s *snapshotv1.VolumeSnapshot) {
		at := metav1.NewTime(s.CreationTimestamp.Add(10 * time.Second))
		s.Status = &snapshotv1.VolumeSnapshotStatus{CreationTime: &at}
	}
	failing := func(after time.Duration) func(*snapshotv1.VolumeSnapshot) {
		return func(s *snapshotv1.VolumeSnapshot) {
			taken(s)
			at := metav1.NewTime(s.CreationTimestamp.Add(after))
			s.Status.Error = &snapshotv1.VolumeSnapshotError{Time: &at, Message: new("pool is full")}
		}
	}
	endless := func(f *fixture) { f.session.Status.BackupDeadline = nil }
	late := func(f *fixture) { f.session.Status.BackupDeadline = new(metav1.NewTime(f.at.Add(48 * time.Hour))) }
	of := func(hooks *v1alpha1.ResolvedHooks, is v1alpha1.HookStatus) func(*fixture) {
		return func(f *fixture) {
			endless(f)
			f.session.Status.Resolved.Targets[0].Hooks = hooks
			f.session.Status.Targets[0].Hooks = &v1alpha1.HookStatuses{PreHooks: []v1alpha1.HookStatus{is}}
		}
	}
	acted := v1alpha1.HookStatus{Name: "freeze", Phase: v1alpha1.HookSucceeded, Attempts: 1}
	hooked := of(freezing("app=db", "app=db"), acted)
	asks := func(pre, post string) *v1alpha1.ResolvedHooks {
		hooks := freezing("app=db", "app=db")
		for h, host := range map[*v1alpha1.ResolvedHook]string{&hooks.Pre[0]: pre, &hooks.Post[0]: post} {
			if host != "" {
				h.Executor = v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator}
				h.Action = &v1alpha1.HookAction{HTTPGet: &v1alpha1.HookHTTPGetAction{Host: host}}
			}
		}
		return hooks
	}
	connects := freezing("app=db", "app=db")
	connects.Pre[0].Action = &v1alpha1.HookAction{TCPSocket: &v1alpha1.HookTCPSocketAction{}}
	alone := freezing("app=db", "app=db")
	alone.Post = nil
	for name, tt := range map[string]struct {
		edit     func(f *fixture)
		snapshot func(*snapshotv1.VolumeSnapshot)
		// limit is when the run stops to wait.
		limit        time.Duration
		reason, says string
	}{
		"until the deadline": {
			edit: late, snapshot: taken, limit: 48 * time.Hour, reason: v1alpha1.ReasonDeadlineExceeded,
			says: "is taken, but not ready to use",
		},
		"without a deadline": {
			edit: endless, snapshot: taken, limit: backup.UploadLimit, reason: v1alpha1.ReasonVolumeSnapshotNotReady,
			says: "was not ready within 24h0m0s",
		},
		"while somebody waits for a postBackup hook": {
			edit: hooked, snapshot: taken, limit: backup.ClaimLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "set one that is long enough for the upload",
		},
		"while somebody waits for a postBackup hook, until the deadline": {
			edit: func(f *fixture) { hooked(f); late(f) }, snapshot: taken, limit: 48 * time.Hour,
			reason: v1alpha1.ReasonDeadlineExceeded, says: "is taken, but not ready to use",
		},
		"the hook was skipped": {
			edit: of(freezing("app=db", "app=db"), v1alpha1.HookStatus{Phase: v1alpha1.HookSkipped}), snapshot: taken,
			limit:  backup.UploadLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 24h0m0s",
		},
		"no hook thaws": {
			edit: of(alone, acted), snapshot: taken, limit: backup.UploadLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 24h0m0s",
		},
		"the hook only connects": {
			edit: of(connects, acted), snapshot: taken, limit: backup.UploadLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 24h0m0s",
		},
		"a message comes after it": {
			edit: of(asks("", "chat"), acted), snapshot: taken, limit: backup.UploadLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 24h0m0s",
		},
		"two servers": {
			edit: of(asks("db", "chat"), acted), snapshot: taken, limit: backup.UploadLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 24h0m0s",
		},
		"one server": {
			edit: of(asks("db", "db"), acted), snapshot: taken, limit: backup.ClaimLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 1h0m0s",
		},
		"a server, and a thaw in a pod": {
			edit: of(asks("db", ""), acted), snapshot: taken, limit: backup.ClaimLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready within 1h0m0s",
		},
		"after an error that did not last": {
			edit: endless, snapshot: failing(5 * time.Second), limit: backup.UploadLimit,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady, says: "was not ready",
		},
		"with an error": {
			edit: endless, snapshot: failing(time.Hour), limit: 2 * time.Hour,
			reason: v1alpha1.ReasonVolumeSnapshotFailed, says: "pool is full",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, f := NewWithT(t), copiedRun("snap", "pod-0")
			tt.edit(f)
			asked := f.at
			f.take("copy-pod-0", tt.snapshot)
			f.at = asked.Add(59 * time.Second)
			g.Expect(f.step().Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonRunning))
			f.at = asked.Add(tt.limit - time.Second)
			d := f.step()
			g.Expect(f.component("a", "pod-0").Phase.Terminal()).To(BeFalse())
			g.Expect(d.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonVolumeSnapshotNotReady))
			g.Expect(d.Status.Targets[0].Message).To(HavePrefix("waiting: the VolumeSnapshot for the copy of " +
				"PersistentVolumeClaim pod-0 is taken, but not ready to use"))
			g.Expect(d.After).To(BeNumerically("<=", time.Minute), "no watch reports when it is ready")
			f.at = asked.Add(tt.limit)
			f.step()
			g.Expect(f.component("a", "pod-0").Reason).To(Equal(tt.reason))
			g.Expect(f.component("a", "pod-0").Error).To(ContainSubstring(tt.says))
		})
	}
}

// Drivers name the request in their errors. The status of a run that waits must not change after each try.
func TestARunThatWaitsForAVolumeSnapshotQuotesItsDriverOnlyInTheEnd(t *testing.T) {
	t.Parallel()
	g, f := NewWithT(t), copiedRun("snap", "pod-0")
	asked := f.at
	f.session.Status.BackupDeadline = new(metav1.NewTime(asked.Add(30 * time.Minute)))
	try := func(n int) {
		f.copies["copy-pod-0"].Snapshot.Status.Error = &snapshotv1.VolumeSnapshotError{
			Time: new(metav1.NewTime(f.at)), Message: new(fmt.Sprint("request ", n, ": pool is full")),
		}
	}
	f.take("copy-pod-0", func(s *snapshotv1.VolumeSnapshot) {
		s.Status = &snapshotv1.VolumeSnapshotStatus{CreationTime: &s.CreationTimestamp}
	})
	f.at = asked.Add(10 * time.Minute)
	try(1)
	said := f.step().Status
	g.Expect(said.Targets[0].Message).To(Equal("waiting: the VolumeSnapshot for the copy of PersistentVolumeClaim " +
		"pod-0 is taken, but not ready to use: its storage system can still upload it; its driver reports an error " +
		"in the status of VolumeSnapshot copy-pod-0"))
	f.at = asked.Add(20 * time.Minute)
	try(2)
	g.Expect(f.step().Status).To(Equal(said))
	f.at = asked.Add(30 * time.Minute)
	f.step()
	g.Expect(f.component("a", "pod-0").Error).To(HaveSuffix("; the last error of its driver: request 2: pool is full"))
}

// A look costs two lists past the cache, so a wait of hours has fewer.
func TestARunLooksLessOftenForAVolumeSnapshotThatTakesLong(t *testing.T) {
	t.Parallel()
	g, f := NewWithT(t), copiedRun("snap", "pod-0")
	f.session.Status.BackupDeadline = nil
	asked := f.at
	f.take("copy-pod-0", func(s *snapshotv1.VolumeSnapshot) {
		s.Status = &snapshotv1.VolumeSnapshotStatus{CreationTime: &s.CreationTimestamp}
	})
	for after, want := range map[time.Duration]time.Duration{
		0: 2 * time.Second, 5 * time.Minute: 10 * time.Second, 5 * time.Hour: time.Minute,
	} {
		f.at = asked.Add(after)
		g.Expect(f.decide().After).To(Equal(want))
	}
	f.take("copy-pod-0", usable)
	g.Expect(f.decide().After).To(Equal(2 * time.Second))
}
