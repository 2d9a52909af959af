package restorebatch

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// later is when the restores of tests choose.
var later = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

// pointSnapshot returns a Snapshot of the BackupBatch shop that was complete at this hour.
func pointSnapshot(point, run, target string, hour int, edit ...func(*v1alpha1.Snapshot)) v1alpha1.Snapshot {
	s := v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Name: target + "-" + run, Labels: map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: "shop",
			v1alpha1.LabelConfiguration: policy.ChildName("shop", target), v1alpha1.LabelRestorePoint: point,
		}},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: target + run, Repository: "shop-" + target, Session: "hourly", BackupSession: run,
		},
		Status: v1alpha1.SnapshotStatus{
			Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: &metav1.Time{
				Time: time.Date(2026, 7, 1, hour, 0, 0, 0, time.UTC),
			},
		},
	}
	for _, e := range edit {
		e(&s)
	}
	return s
}

func failedSnapshot(s *v1alpha1.Snapshot) { s.Status.Phase = v1alpha1.SnapshotFailed }

func in(repository string) func(*v1alpha1.Snapshot) {
	return func(s *v1alpha1.Snapshot) {
		s.Spec.Repository = repository
		s.Name += "-" + repository
	}
}

func TestChooseSnapshots(t *testing.T) {
	latest := v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession}
	by := func(hour int, exclusive bool) v1alpha1.RestoreBatchDataSource {
		return v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", PITR: &v1alpha1.PITR{
			TargetTime: &metav1.Time{Time: time.Date(2026, 7, 1, hour, 0, 0, 0, time.UTC)}, Exclusive: exclusive,
		}}
	}
	named := func(run string) v1alpha1.RestoreBatchDataSource {
		return v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: run}
	}
	two := []v1alpha1.Snapshot{
		pointSnapshot("a", "a", "web", 1), pointSnapshot("a", "a", "db", 1),
		pointSnapshot("b", "b", "web", 2), pointSnapshot("b", "b", "db", 2),
	}
	with := func(more ...v1alpha1.Snapshot) []v1alpha1.Snapshot {
		return append(append([]v1alpha1.Snapshot{}, two...), more...)
	}
	for name, tt := range map[string]struct {
		list    []v1alpha1.Snapshot
		source  v1alpha1.RestoreBatchDataSource
		edit    func(*v1alpha1.RestoreBatchSpec)
		web, db string
		message string
	}{
		"the newest": {list: two, source: latest, web: "web-b", db: "db-b"},
		"not a point in which a target failed": {
			list:   with(pointSnapshot("c", "c", "web", 3), pointSnapshot("c", "c", "db", 3, failedSnapshot)),
			source: latest, web: "web-b", db: "db-b",
		},
		"not an incomplete point": {
			list: with(pointSnapshot("c", "c", "web", 3)), source: latest, web: "web-b", db: "db-b",
		},
		"not what a scan says to be of the point": {
			list: with(pointSnapshot("b", "b", "web", 3, in("a-repository"), func(s *v1alpha1.Snapshot) {
				s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: "uid"}
			})),
			source: latest, web: "web-b", db: "db-b",
		},
		"with the Snapshot of a retry": {
			list: with(pointSnapshot("c", "c", "web", 3), pointSnapshot("c", "c", "db", 3, failedSnapshot),
				pointSnapshot("c", "c-r1", "db", 4)),
			source: latest, web: "web-c", db: "db-c-r1",
		},
		"a retry makes a point no newer": {
			list: with(pointSnapshot("a", "a-r1", "db", 9)), source: latest, web: "web-b", db: "db-b",
		},
		"not a point that is being removed": {
			list: with(pointSnapshot("c", "c", "db", 3), pointSnapshot("c", "c", "web", 3,
				func(s *v1alpha1.Snapshot) { s.DeletionTimestamp = new(metav1.Now()) })),
			source: latest, web: "web-b", db: "db-b",
		},
		"not a record": {
			list: with(pointSnapshot("c", "c", "db", 3), pointSnapshot("c", "c", "web", 3, func(s *v1alpha1.Snapshot) {
				s.Annotations = map[string]string{v1alpha1.AnnotationRecord: "production"}
			})), source: latest, web: "web-b", db: "db-b",
		},
		"not a point of another batch": {
			list: with(pointSnapshot("c", "c", "db", 3), pointSnapshot("c", "c", "web", 3, func(s *v1alpha1.Snapshot) {
				s.Labels[v1alpha1.LabelInvokerName] = "blog"
			})), source: latest, web: "web-b", db: "db-b",
		},
		"of a session": {
			list: with(pointSnapshot("c", "c", "web", 3, func(s *v1alpha1.Snapshot) { s.Spec.Session = "weekly" }),
				pointSnapshot("c", "c", "db", 3)),
			source: latest, edit: func(s *v1alpha1.RestoreBatchSpec) { s.DataSource.Session = "hourly" }, web: "web-b",
			db: "db-b",
		},
		"by a time": {list: two, source: by(1, false), web: "web-a", db: "db-a"},
		"by a time, with a later retry": {
			list: with(pointSnapshot("a", "a-r1", "db", 9)), source: by(1, false), web: "web-a", db: "db-a",
		},
		"before a time": {list: two, source: by(2, true), web: "web-a", db: "db-a"},
		"before all": {
			list: two, source: by(1, true),
			message: "no successful Snapshot by 2026-07-01T01:00:00Z of any of these targets",
		},
		"by name": {list: two, source: named("a"), web: "web-a", db: "db-a"},
		"by the name of a retry": {
			list: with(pointSnapshot("a", "a-r1", "db", 9)), source: named("a-r1"), web: "web-a", db: "db-a-r1",
		},
		"by an unknown name": {
			list: two, source: named("z"), message: "there is no Snapshot of BackupSession z of BackupBatch shop",
		},
		"by the name of a point that lacks a target": {
			list: with(pointSnapshot("c", "c", "web", 3)), source: named("c"),
			message: "the restore point of BackupSession c has no successful Snapshot of target db",
		},
		"no point is complete": {
			list: []v1alpha1.Snapshot{two[0], two[3]}, source: latest,
			message: "no restore point in which all of these targets succeeded: the newest, of BackupSession b, " +
				"lacks web",
		},
		"a mix": {
			list: []v1alpha1.Snapshot{two[0], two[3]}, source: latest, web: "web-a", db: "db-b",
			edit: func(s *v1alpha1.RestoreBatchSpec) { s.DataSource.Mixed = true },
		},
		"a mix without any Snapshot of a target": {
			list: []v1alpha1.Snapshot{two[0]}, source: latest, message: "of target db",
			edit: func(s *v1alpha1.RestoreBatchSpec) { s.DataSource.Mixed = true },
		},
		"of several Repositories the first by name": {
			list:   with(pointSnapshot("b", "b", "web", 9, in("z")), pointSnapshot("b", "b", "web", 1, in("a"))),
			source: named("b"), web: "web-b-a", db: "db-b",
		},
		"of the Repository that is named": {
			list: with(pointSnapshot("b", "b", "web", 9, in("z"))), source: named("b"),
			edit: func(s *v1alpha1.RestoreBatchSpec) { s.Targets[0].Repository = "z" }, web: "web-b-z", db: "db-b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			spec := v1alpha1.RestoreBatchSpec{
				DataSource: tt.source, Targets: []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}},
			}
			if tt.edit != nil {
				tt.edit(&spec)
			}
			for range 5 { // The order of the list must not matter.
				rand.Shuffle(len(tt.list), func(i, j int) { tt.list[i], tt.list[j] = tt.list[j], tt.list[i] })
				chosen, err := ChooseSnapshots(tt.list, &spec, later)
				if tt.message != "" {
					g.Expect(err).NotTo(BeNil())
					g.Expect(err.Reason).To(Equal(v1alpha1.ReasonSnapshotNotFound))
					g.Expect(err.Message).To(ContainSubstring(tt.message))
					continue
				}
				g.Expect(err).To(BeNil())
				g.Expect([]string{chosen["web"].Name, chosen["db"].Name}).To(Equal([]string{tt.web, tt.db}))
			}
		})
	}
}

// A target is stamped with a digest of the RestoreBatch's spec, and nobody else can choose that digest.
func TestTheDigestOfAChild(t *testing.T) {
	g := NewWithT(t)
	b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "back", UID: "1"}}
	b.Spec.Targets = []v1alpha1.RestoreBatchTarget{{Name: "web"}}
	deadline := metav1.NewTime(time.Unix(3600, 0))
	b.Status.RestoreDeadline = &deadline
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{
		SpecDigest: "sha256:1", Targets: []v1alpha1.ResolvedRestoreTarget{{Name: "web", RestoreSession: "back-web"}},
	}
	s := NewRestoreSession(b, 0, time.Unix(0, 0))
	g.Expect(restore.Digests(s)[0]).To(Equal(TargetDigest("sha256:1", "web")))
	later := NewRestoreSession(b, 0, time.Unix(1800, 0))
	g.Expect(later.Spec.RestoreTimeout.Duration).To(Equal(30 * time.Minute))
	g.Expect(restore.Digests(later)).To(Equal(restore.Digests(s)))
	s.OwnerReferences = nil
	g.Expect(restore.Digests(s)).To(ContainElement(policy.Digest(s.Spec)))
	g.Expect(restore.Digests(s)).NotTo(ContainElement(TargetDigest("sha256:1", "web")),
		"the annotation alone must not count")
}

// Data of the newest restore point is known to be gone.
func TestDamagedSnapshotsDoNotCount(t *testing.T) {
	damaged := func(s *v1alpha1.Snapshot) { s.Status.Integrity = new(false) }
	list := []v1alpha1.Snapshot{
		pointSnapshot("first", "first", "web", 1), pointSnapshot("first", "first", "db", 1),
		pointSnapshot("second", "second", "web", 2), pointSnapshot("second", "second", "db", 2, damaged),
	}
	half := slices.Clone(list)
	half[3] = pointSnapshot("second", "second", "db", 2, func(s *v1alpha1.Snapshot) {
		s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"}
	})
	held := slices.Clone(list)
	for i, target := range []string{"web", "db"} {
		held[i] = pointSnapshot("first", "first", target, 1, func(s *v1alpha1.Snapshot) {
			s.DeletionTimestamp = &metav1.Time{Time: later}
			conditions.MarkFalse(s, v1alpha1.ConditionWiped, v1alpha1.ReasonLastSuccess, "it is the last")
		})
	}
	spec := func(run string, allow bool) *v1alpha1.RestoreBatchSpec {
		return &v1alpha1.RestoreBatchSpec{
			DataSource: v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: run, AllowDamaged: allow},
			Targets:    []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}},
		}
	}
	for name, tt := range map[string]struct {
		list   []v1alpha1.Snapshot
		spec   *v1alpha1.RestoreBatchSpec
		db     string
		reason string
		says   string
	}{
		"latest passes over them": {
			list, spec("latest", false), "db-first", "", "",
		},
		"by name": {
			list, spec("second", false), "", v1alpha1.ReasonSnapshotDamaged, "allowDamaged",
		},
		"by name, with consent": {
			list, spec("second", true), "db-second", "", "",
		},
		"another by name": {
			list, spec("first", false), "db-first", "", "",
		},
		"latest, but a target was half restored": {
			half, spec("latest", false), "", v1alpha1.ReasonHalfRestored, "BackupSession first",
		},
		"a half restored one by name": {
			half, spec("second", false), "db-second", "", "",
		},
		"latest, but there is no more": {
			list[2:], spec("latest", false), "", v1alpha1.ReasonSnapshotDamaged, "allowDamaged",
		},
		"latest, and retention has let the last whole ones go": {
			held, spec("latest", false), "", v1alpha1.ReasonSnapshotDamaged, "Snapshot db-first: retention has let " +
				"it go, and its data stays until there is another whole one. To restore it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			chosen, refusal := ChooseSnapshots(tt.list, tt.spec, later)
			if tt.reason != "" {
				g.Expect(refusal).To(HaveField("Reason", tt.reason))
				g.Expect(refusal.Message).To(And(ContainSubstring("db-second"), ContainSubstring(tt.says)))
				return
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(chosen["db"].Name).To(Equal(tt.db))
		})
	}
}

// A run can have the name of an earlier one, whose Snapshots are still there: a manual run "before-upgrade", or a run
// that was deleted and made again.
func TestARestorePointIsOfOneRun(t *testing.T) {
	of := func(uid string) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) {
			s.Labels[v1alpha1.LabelRestorePointUID] = uid
			s.Name += "-" + uid
		}
	}
	list := []v1alpha1.Snapshot{
		pointSnapshot("a", "a", "web", 1, of("1")), pointSnapshot("a", "a", "db", 1, of("1")),
		pointSnapshot("a", "a", "web", 2, of("2")), pointSnapshot("a", "a", "db", 2, of("2"), failedSnapshot),
	}
	spec := &v1alpha1.RestoreBatchSpec{
		Targets: []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}},
	}
	for name, session := range map[string]string{"the latest": v1alpha1.LatestBackupSession, "by name": "a"} {
		for range 5 {
			g := NewWithT(t)
			spec.DataSource = v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: session}
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			got, refusal := ChooseSnapshots(list, spec, later)
			g.Expect(refusal).To(BeNil(), name)
			g.Expect(got["web"].Name).To(Equal("web-a-1"), name)
			g.Expect(got["db"].Name).To(Equal("db-a-1"), name)
		}
	}
}

// A clock that was ahead made a point that seems to be of a later month. The API server's clock knows when its Snapshot
// was made.
func TestAPointOfTheFutureIsNotTheNewest(t *testing.T) {
	future := pointSnapshot("a", "a", "web", 24*60, func(s *v1alpha1.Snapshot) {
		s.CreationTimestamp = metav1.NewTime(time.Date(2026, 7, 1, 1, 0, 0, 0, time.UTC))
	})
	// All clocks were ahead.
	nextYear := pointSnapshot("c", "c", "web", 365*24*60, func(s *v1alpha1.Snapshot) {
		s.CreationTimestamp = metav1.NewTime(later.AddDate(1, 0, 0))
	})
	today := pointSnapshot("b", "b", "web", 2)
	for _, mixed := range []bool{false, true} {
		g := NewWithT(t)
		chosen, refusal := ChooseSnapshots([]v1alpha1.Snapshot{future, today, nextYear}, &v1alpha1.RestoreBatchSpec{
			Targets: []v1alpha1.RestoreBatchTarget{{Name: "web"}},
			DataSource: v1alpha1.RestoreBatchDataSource{
				BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession, Mixed: mixed,
			},
		}, later)
		g.Expect(refusal).To(BeNil())
		g.Expect(chosen["web"].Name).To(Equal(today.Name))
	}
}

// One session backs up all of a target, another one less. Only who names neither session nor run has to be told.
func TestARestorePointThatHoldsLess(t *testing.T) {
	holding := func(session string, components ...string) func(*v1alpha1.Snapshot) {
		return func(s *v1alpha1.Snapshot) {
			s.Spec.Session, s.Status.Components = session, map[string]v1alpha1.Component{}
			for _, c := range components {
				s.Status.Components[c] = v1alpha1.Component{}
			}
		}
	}
	list := []v1alpha1.Snapshot{
		pointSnapshot("night", "night", "web", 1, holding("nightly", "data", "logs")),
		pointSnapshot("night", "night", "db", 1, holding("nightly", "dump")),
		pointSnapshot("a", "a", "web", 2, holding("hourly", "data")),
		pointSnapshot("a", "a", "db", 2, holding("hourly", "dump")),
		pointSnapshot("b", "b", "web", 3, holding("hourly", "data")),
		pointSnapshot("b", "b", "web", 3, holding("hourly", "data", "copies"), in("shop-web-2")),
		pointSnapshot("b", "b", "db", 3, holding("hourly", "dump")),
	}
	for name, tt := range map[string]struct {
		source v1alpha1.RestoreBatchDataSource
		web    v1alpha1.RestoreBatchTarget
		says   string
	}{
		"latest": {
			source: v1alpha1.RestoreBatchDataSource{BackupSession: v1alpha1.LatestBackupSession},
			says: "target web: Snapshot web-b holds less than Snapshot web-night of session nightly, which has " +
				"component logs",
		},
		"a component of the latest": {
			source: v1alpha1.RestoreBatchDataSource{BackupSession: v1alpha1.LatestBackupSession},
			web:    v1alpha1.RestoreBatchTarget{Components: []string{"data"}},
		},
		"the latest of a session": {
			source: v1alpha1.RestoreBatchDataSource{BackupSession: v1alpha1.LatestBackupSession, Session: "hourly"},
		},
		"a run": {source: v1alpha1.RestoreBatchDataSource{BackupSession: "b"}},
		"a time": {
			source: v1alpha1.RestoreBatchDataSource{PITR: &v1alpha1.PITR{TargetTime: &metav1.Time{
				Time: time.Date(2026, 7, 1, 2, 0, 0, 0, time.UTC),
			}}},
			says: "target web: Snapshot web-a holds less than Snapshot web-night of session nightly, which has " +
				"component logs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tt.source.BackupBatch, tt.web.Name = "shop", "web"
			spec := &v1alpha1.RestoreBatchSpec{
				DataSource: tt.source, Targets: []v1alpha1.RestoreBatchTarget{tt.web, {Name: "db"}},
			}
			chosen, refusal := ChooseSnapshots(list, spec, later)
			g.Expect(refusal).To(BeNil())
			less := HoldsLess(list, spec, chosen, later)
			if tt.says == "" {
				g.Expect(less).To(BeEmpty())
				return
			}
			g.Expect(less).To(HaveSuffix("; " + tt.says))
		})
	}
}
