package keeper

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

var start = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// usedRepository returns an initialised Repository that was written to.
func usedRepository(change func(*v1alpha1.Repository)) *v1alpha1.Repository {
	r := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "uid-1", CreationTimestamp: metav1.NewTime(start)},
		Status: v1alpha1.RepositoryStatus{
			InitializedSpec: "spec", LastBackupTime: &metav1.Time{Time: start},
			LastMaintenance: &v1alpha1.MaintenanceStatus{
				Quick: &metav1.Time{Time: start}, Full: &metav1.Time{Time: start},
			},
		},
	}
	if change != nil {
		change(r)
	}
	return r
}

// beingWiped is a Repository whose directory is to be wiped.
func beingWiped(r *v1alpha1.Repository) {
	r.DeletionTimestamp = &metav1.Time{Time: start}
	r.Spec.DeletionPolicy, r.Finalizers = v1alpha1.WipeOut, []string{v1alpha1.FinalizerWipe}
	r.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionWiped, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonProgressing,
	}}
}

func TestWorkIn(t *testing.T) {
	hours := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	gone := []*v1alpha1.Snapshot{{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, {ObjectMeta: metav1.ObjectMeta{Name: "a"}}}
	wiped := func(change func(*v1alpha1.Repository)) func(*v1alpha1.Repository) {
		return func(r *v1alpha1.Repository) {
			beingWiped(r)
			change(r)
		}
	}
	for name, tt := range map[string]struct {
		change    func(*v1alpha1.Repository)
		snapshots []*v1alpha1.Snapshot
		now       time.Time
		want      string
		next      time.Time
	}{
		"nothing is due":         {now: hours(1), next: hours(24)},
		"maintenance is due":     {now: hours(24), want: "quick", next: hours(48)},
		"a full one is due":      {now: hours(7 * 24), want: "full", next: hours(8 * 24)},
		"Snapshots were deleted": {snapshots: gone, now: hours(1), want: "remove a,b", next: hours(24)},
		"both":                   {snapshots: gone, now: hours(24), want: "remove a,b quick", next: hours(48)},
		"it is paused": {
			func(r *v1alpha1.Repository) { r.Spec.Paused = true }, gone, hours(24), "", time.Time{},
		},
		"it is not initialised": {
			func(r *v1alpha1.Repository) { r.Status.InitializedSpec = "" }, gone, hours(24), "", time.Time{},
		},
		"nothing has changed for weeks": {func(r *v1alpha1.Repository) {
			r.Status.LastMaintenance.Full.Time = hours(40 * 24)
			r.Status.LastScan = &v1alpha1.ScanStatus{Time: metav1.NewTime(hours(50 * 24))}
		}, nil, hours(50 * 24), "", time.Time{}},
		"and a scan has made a Snapshot": {func(r *v1alpha1.Repository) {
			r.Status.LastMaintenance.Full.Time = hours(20 * 24)
			r.Status.LastScan = &v1alpha1.ScanStatus{Time: metav1.NewTime(hours(30 * 24)), Rebuilt: 1}
		}, nil, hours(30 * 24), "full", hours(31 * 24)},
		"it is wiped": {beingWiped, nil, hours(24), "wipe", time.Time{}},
		"its data stays": {
			wiped(func(r *v1alpha1.Repository) { r.Spec.DeletionPolicy = "" }), nil, hours(24), "", time.Time{},
		},
		"its wipe is done": {
			wiped(func(r *v1alpha1.Repository) { r.Status.Conditions[0].Status = "True" }), nil, hours(24), "",
			time.Time{},
		},
		"something works with it": {wiped(func(r *v1alpha1.Repository) {
			r.Status.Conditions[0].Reason = v1alpha1.ReasonInUse
		}), nil, hours(24), "", time.Time{}},
		"its controller has not decided to wipe it": {
			wiped(func(r *v1alpha1.Repository) { r.Status.Conditions = nil }), nil, hours(24), "", time.Time{},
		},
		"its wipe was given up": {wiped(func(r *v1alpha1.Repository) {
			r.UID, r.Annotations = "1", map[string]string{v1alpha1.AnnotationGiveUp: "1"}
		}), nil, hours(24), "", time.Time{}},
		"it is a record": {func(r *v1alpha1.Repository) {
			r.Annotations = map[string]string{v1alpha1.AnnotationRecord: "true"}
		}, gone, hours(24), "", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w, next := WorkIn(usedRepository(tt.change), tt.snapshots, tt.now)
			g.Expect(summary(w)).To(Equal(tt.want))
			g.Expect(next).To(BeTemporally("==", tt.next))
		})
	}
}

// summary describes work in short.
func summary(w *Work) string {
	if w == nil {
		return ""
	}
	var out []string
	if w.Wipe {
		out = append(out, "wipe")
	}
	var names []string
	for _, s := range w.Snapshots {
		names = append(names, s.Name)
	}
	if len(names) > 0 {
		out = append(out, "remove "+strings.Join(names, ","))
	}
	if w.Maintain != "" {
		out = append(out, string(w.Maintain))
	}
	return strings.Join(out, " ")
}

func TestRemoves(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.Snapshot)
		want   bool
	}{
		"deleted with its data": {func(*v1alpha1.Snapshot) {}, true},
		"not deleted":           {func(s *v1alpha1.Snapshot) { s.DeletionTimestamp = nil }, false},
		"its data stays":        {func(s *v1alpha1.Snapshot) { s.Spec.DeletionPolicy = "" }, false},
		"released":              {func(s *v1alpha1.Snapshot) { s.Finalizers = nil }, false},
		"its removal was given up": {func(s *v1alpha1.Snapshot) {
			s.UID, s.Annotations = "1", map[string]string{v1alpha1.AnnotationGiveUp: "1"}
		}, false},
		"a record": {func(s *v1alpha1.Snapshot) {
			s.Annotations = map[string]string{v1alpha1.AnnotationRecord: "true"}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{
					DeletionTimestamp: &metav1.Time{Time: start}, Finalizers: []string{v1alpha1.FinalizerWipe},
				},
				Spec: v1alpha1.SnapshotSpec{DeletionPolicy: v1alpha1.WipeOut},
			}
			tt.change(s)
			NewWithT(t).Expect(Removes(s)).To(Equal(tt.want))
		})
	}
}

func TestLimitToJob(t *testing.T) {
	snapshots := func(n, id int) []*v1alpha1.Snapshot {
		var out []*v1alpha1.Snapshot
		for i := range n {
			out = append(out, &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s-", i)},
				Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{
					"data": {ID: strings.Repeat("i", id)}, "failed": {},
				}},
			})
		}
		return out
	}
	for name, tt := range map[string]struct {
		all  []Work
		want []string // Snapshots and components to check, of each work
	}{
		"all fits": {
			[]Work{{Snapshots: snapshots(2, 9), Check: make([]task.Checked, 3)}, {Wipe: true}}, []string{"2 3", "0 0"},
		},
		"many Repositories": {make17(), strings.Split(strings.Repeat("0 0,", 15)+"0 0", ",")},
		"many Snapshots": {
			[]Work{{Snapshots: snapshots(400, 9)}, {Snapshots: snapshots(200, 9)}}, []string{"400 0", "100 0"},
		},
		"nothing is left": {[]Work{{Snapshots: snapshots(500, 9)}, {Snapshots: snapshots(1, 9)}}, []string{"500 0"}},
		"maintenance is left": {
			[]Work{{Snapshots: snapshots(500, 9)}, {Snapshots: snapshots(1, 9), Maintain: "quick"}},
			[]string{"500 0", "0 0"},
		},
		"long IDs":              {[]Work{{Snapshots: snapshots(3, 60<<10)}}, []string{"1 0"}},
		"one ID that is longer": {[]Work{{Snapshots: snapshots(1, 200<<10)}}, []string{"1 0"}},
		"many components":       {[]Work{{Maintain: "full", Check: make([]task.Checked, 2000)}}, []string{"0 1066"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, w := range limitToJob(tt.all) {
				got = append(got, fmt.Sprint(len(w.Snapshots), " ", len(w.Check)))
			}
			NewWithT(t).Expect(got).To(Equal(tt.want))
		})
	}
}

// make17 returns one work more than a Job can have.
func make17() []Work {
	out := make([]Work, maxRepositories+1)
	for i := range out {
		out[i].Wipe = true
	}
	return out
}

func TestMaintained(t *testing.T) {
	at, before := metav1.NewTime(start.Add(time.Hour)), metav1.NewTime(start)
	for name, tt := range map[string]struct {
		work      Work
		whole     *bool
		removal   *metav1.Time
		quick     *metav1.Time
		full      *metav1.Time
		integrity *bool
	}{
		"a removal": {
			work: Work{Snapshots: make([]*v1alpha1.Snapshot, 1)}, removal: &at, quick: &before, full: &before,
		},
		"a quick one": {work: Work{Maintain: task.MaintainQuick}, whole: new(true), quick: &at, full: &before},
		"a full one": {
			work: Work{Maintain: task.MaintainFull, Checks: true}, whole: new(true), quick: &at, full: &at,
			integrity: new(true),
		},
		"nothing known": {work: Work{Maintain: task.MaintainFull, Checks: true}, quick: &at, full: &at},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := v1alpha1.RepositoryStatus{LastMaintenance: &v1alpha1.MaintenanceStatus{Quick: &before, Full: &before}}
			tt.work.Maintained(&s, 12<<20, at)
			if tt.work.Checks {
				tt.work.Checked(&s, tt.whole)
			}
			g.Expect(s.LastRemovalTime).To(Equal(tt.removal))
			g.Expect(s.LastMaintenance).To(Equal(&v1alpha1.MaintenanceStatus{Quick: tt.quick, Full: tt.full}))
			g.Expect(s.Integrity).To(Equal(tt.integrity))
			if tt.work.Maintain == "" {
				g.Expect(s.StoredBytes).To(BeNil())
			} else {
				g.Expect(s.Size).To(Equal("12.000 MiB"))
			}
		})
	}
}

func TestAScanIsHandledOnce(t *testing.T) {
	t.Parallel()
	asked := func(r *v1alpha1.Repository) { r.Annotations = map[string]string{v1alpha1.AnnotationScan: "one"} }
	for name, c := range map[string]struct {
		change func(*v1alpha1.Repository)
		want   string
	}{
		"nobody asked": {func(*v1alpha1.Repository) {}, ""},
		"asked":        {asked, "one"},
		"asked while it is paused": {func(r *v1alpha1.Repository) {
			asked(r)
			r.Spec.Paused = true
		}, "one"},
		"handled": {func(r *v1alpha1.Repository) {
			asked(r)
			r.Status.LastScan = &v1alpha1.ScanStatus{Requested: "one"}
		}, ""},
		"asked again": {func(r *v1alpha1.Repository) {
			asked(r)
			r.Status.LastScan = &v1alpha1.ScanStatus{Requested: "zero"}
		}, "one"},
		"a long request that is handled": {func(r *v1alpha1.Repository) {
			r.Annotations = map[string]string{v1alpha1.AnnotationScan: strings.Repeat("x", 300)}
			r.Status.LastScan = &v1alpha1.ScanStatus{Requested: strings.Repeat("x", 253) + "…"}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			w, _ := WorkIn(usedRepository(c.change), nil, start)
			if c.want == "" {
				g.Expect(w).To(BeNil())
				return
			}
			g.Expect(w.Scan).To(Equal(c.want))
			g.Expect(w.Maintain).To(BeEmpty())
		})
	}
}

// A request comes back from the task of a Job as it went there, wherever it was cut.
func TestALongRequestIsHandledOnce(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		g := NewWithT(t)
		r := usedRepository(func(r *v1alpha1.Repository) {
			r.Annotations = map[string]string{
				v1alpha1.AnnotationScan: strings.Repeat("a", 248+n) + strings.Repeat("é日", 10),
			}
		})
		order, err := json.Marshal(task.Keep{Scan: ScanOf(r)})
		g.Expect(err).NotTo(HaveOccurred())
		var got task.Keep
		g.Expect(json.Unmarshal(order, &got)).To(Succeed())
		g.Expect(len(got.Scan)).To(And(BeNumerically("<=", 256), BeNumerically(">", 240)))
		r.Status.LastScan = &v1alpha1.ScanStatus{Requested: got.Scan}
		g.Expect(ScanOf(r)).To(BeEmpty(), "it was handled")
	}
}

func TestAJobScansOneRepository(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var all []Work
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, Work{Repository: usedRepository(func(r *v1alpha1.Repository) { r.Name = name }), Scan: "now"})
	}
	all[1].Maintain = task.MaintainQuick
	got := limitToJob(all)
	g.Expect(got).To(HaveLen(2), "the third has nothing else to do")
	g.Expect(got[0].Scan).To(Equal("now"))
	g.Expect(got[1].Scan).To(BeEmpty(), "its answer is for the next Job")
	g.Expect(got[1].Maintain).To(Equal(task.MaintainQuick))
}

// The first check in a directory that nobody saw go has found each Snapshot damaged.
func TestNothingIsCollectedWhereEachSnapshotIsDamaged(t *testing.T) {
	g := NewWithT(t)
	damaged := func(name string, day int) *v1alpha1.Snapshot {
		s := checkable(name, name)
		s.Status.Integrity, s.Status.LastCheckTime = new(false), &metav1.Time{Time: start.AddDate(0, 0, day)}
		return s
	}
	r := usedRepository(func(r *v1alpha1.Repository) { r.Status.Integrity = new(false) })
	look := func(hours int, snapshots ...*v1alpha1.Snapshot) (*Work, time.Time) {
		now := start.Add(time.Duration(hours) * time.Hour)
		w, _ := WorkIn(r, nil, now)
		next := w.CheckFirst(snapshots, nil, now)
		return w, next
	}
	w, _ := look(49, damaged("a", 0), damaged("b", 1))
	g.Expect(w.Maintain).To(BeEmpty())
	g.Expect(w.Check).To(HaveLen(2), "it can be back")
	w, next := look(25, damaged("a", 0), damaged("b", 1))
	g.Expect(w.Empty()).To(BeTrue(), "once a day")
	g.Expect(next).To(Equal(start.AddDate(0, 0, 2)))
	for _, other := range []*v1alpha1.Snapshot{nil, checkable("new", "new")} {
		all := []*v1alpha1.Snapshot{damaged("a", 0), other}
		if other == nil {
			all = nil
		}
		w, _ = look(49, all...)
		g.Expect(w.Maintain).To(Equal(task.MaintainFull), "a backup has succeeded, or all Snapshots are removed")
	}
}
