package index

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A backup that still writes holds its Snapshot: else a keeper would remove data below a mover.
func TestAnUnfinishedBackupUsesItsSnapshot(t *testing.T) {
	for name, tt := range map[string]struct {
		session  v1alpha1.BackupSessionPhase
		snapshot v1alpha1.SnapshotPhase
		user     string
	}{
		"it runs":  {v1alpha1.BackupSessionRunning, v1alpha1.SnapshotRunning, "shop/nightly"},
		"it ended": {v1alpha1.BackupSessionFailed, v1alpha1.SnapshotRunning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"}}
			s.Status.Phase = tt.session
			snapshot := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}}
			snapshot.Spec.BackupSession, snapshot.Status.Phase = "nightly", tt.snapshot
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(s).Build()
			user, err := InUse{}.User(t.Context(), c, snapshot)
			g.Expect(err).NotTo(HaveOccurred())
			if tt.user == "" {
				g.Expect(user).To(BeEmpty())
			} else {
				g.Expect(user).To(ContainSubstring(tt.user))
			}
		})
	}
}

// apiServer remembers the names of the objects that are read in full.
type apiServer struct {
	client.Reader
	read []string
	// unlimited counts lists that are not read in pages.
	unlimited int
}

func (a *apiServer) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	a.read = append(a.read, key.Name)
	return a.Reader.Get(ctx, key, o, opts...)
}

func (a *apiServer) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if o := (&client.ListOptions{}).ApplyOptions(opts); o.Limit == 0 {
		a.unlimited++
	}
	if _, ok := list.(*metav1.PartialObjectMetadataList); !ok {
		a.read = append(a.read, "a list")
	}
	return a.Reader.List(ctx, list, opts...)
}

// Ended restores of the whole cluster stay for ever. Only those are read that the cache does not know as ended.
func TestAnEndedRestoreIsNotReadAgain(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	restore := func(name string, uid types.UID, phase v1alpha1.RestoreSessionPhase) *v1alpha1.RestoreSession {
		r := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid}}
		r.Spec.DataSource, r.Status.Phase = &v1alpha1.RestoreDataSource{Snapshot: name}, phase
		return r
	}
	batch := func(name string, phase v1alpha1.RestoreSessionPhase) *v1alpha1.RestoreBatch {
		b := &v1alpha1.RestoreBatch{}
		b.Namespace, b.Name, b.UID = "shop", name, types.UID("uid-"+name)
		b.Status.Phase = phase
		return b
	}
	const ended = v1alpha1.RestoreSessionSucceeded
	cache := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		restore("ended", "1", ended), restore("ended-since", "2", ""), restore("again", "3", ended),
		batch("old", ended),
	).Build()
	live := &apiServer{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		restore("ended", "1", ended), restore("ended-since", "2", ended), restore("again", "4", ""),
		restore("new", "5", ""), batch("old", ended), batch("new", ""),
	).Build()}
	used, err := InUseNow(t.Context(), cache, live)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(live.read).To(ConsistOf("ended-since", "again", "new", "new"))
	g.Expect(live.unlimited).To(BeZero(), "all is read in pages")
	users := map[string]bool{}
	for _, name := range []string{"ended", "ended-since", "again", "new"} {
		s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		users[name] = used.By(s) != ""
	}
	g.Expect(users).To(Equal(map[string]bool{"ended": false, "ended-since": false, "again": true, "new": true}))
}
