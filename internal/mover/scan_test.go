package mover_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/mover/judge"
	"github.com/cairn-backup/cairn/internal/run/rebuilt"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
	"github.com/cairn-backup/cairn/internal/testbed"
)

const scanJob = "keeper-shop-0123"

// scanTask asks a keeper which Snapshots lie in the repository.
func scanTask(namespace string) task.Task {
	t := keepTask()
	t.Namespace = namespace
	t.Keep[0].Scan = "now"
	return t
}

// ofTwo is the backup of a Snapshot that has the components pvc and logs.
func ofTwo(snapshot string, components ...string) task.Task {
	t := backupTask(snapshot)
	t.Components = nil
	for _, name := range components {
		t.Components = append(t.Components, task.Component{Name: name})
	}
	t.Snapshot.Components = 2
	t.Snapshot.Labels = map[string]string{v1alpha1.LabelSession: "s"}
	return t
}

// scanned lets a keeper scan, and returns what it found by name.
func (p *pod) scanned(t *testing.T) (map[string]task.Found, *task.Scan) {
	t.Helper()
	g, ns := NewWithT(t), namespace(t)
	p.mover.Client, p.mover.Job = as(t, ns, v1alpha1.MoverServiceAccount, scanJob+"-abcde"), scanJob
	code, r := p.run(t.Context(), scanTask(ns))
	g.Expect(code).To(BeZero(), "%+v", r)
	answer := r.Components[0].Scan
	var pages [][]byte
	for i := range answer.Pages {
		var page corev1.ConfigMap
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: task.PageName(scanJob, i)}, &page)).
			To(Succeed())
		g.Expect(page.Labels).To(HaveKeyWithValue(v1alpha1.LabelScan, scanJob))
		pages = append(pages, page.BinaryData[task.PageKey])
	}
	g.Expect(answer.Matches(pages)).To(BeTrue(), "the termination message proves the pages")
	out := map[string]task.Found{}
	for _, page := range pages {
		g.Expect(task.ReadPage(page, func(f task.Found) error {
			out[f.Name] = f
			return nil
		})).To(Succeed())
	}
	return out, answer
}

func TestAScanFindsTheSnapshots(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	code, r := p.run(t.Context(), ofTwo("whole", "pvc", "logs"))
	g.Expect(code).To(BeZero(), "%+v", r)
	for _, component := range []string{"pvc", "logs"} { // two Jobs, as of two pods of a StatefulSet
		code, r := p.run(t.Context(), ofTwo("two-jobs", component))
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	code, r = p.run(t.Context(), ofTwo("half", "pvc"))
	g.Expect(code).To(BeZero(), "%+v", r)

	found, answer := p.scanned(t)
	g.Expect(found).To(HaveLen(3))
	g.Expect(answer).To(HaveField("Unknown", BeZero()))
	g.Expect(answer).To(HaveField("Unreadable", BeZero()))
	whole := found["whole"]
	g.Expect(whole.UID).To(Equal(types.UID("uid-whole")))
	g.Expect(whole.Total).To(Equal(int32(2)))
	g.Expect(whole.Labels).To(Equal(map[string]string{v1alpha1.LabelSession: "s"}))
	g.Expect(whole.Spec).To(Equal(v1alpha1.SnapshotSpec{
		SnapshotID: "01", Session: "s", BackupSession: "run-1", Version: "v1", Type: v1alpha1.FullBackup,
		AppRef: repositoryTask().Repository.AppRef,
	}))
	for _, name := range []string{"whole", "two-jobs"} {
		g.Expect(found[name].Components).To(HaveLen(2), name)
		for _, c := range found[name].Components {
			g.Expect(c.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		}
	}
	// What the status says after the scan is what it said after the backup.
	told := p.reports.snapshots["pvc"]
	ended := slices.IndexFunc(told, func(c v1alpha1.Component) bool { return c.Phase == v1alpha1.SnapshotSucceeded })
	g.Expect(ended).To(BeNumerically(">=", 0))
	said := told[ended]
	said.Duration, said.PreviousSizeBytes = "", 0
	again := whole.Components["pvc"]
	again.Duration = ""
	g.Expect(json.Marshal(again)).To(MatchJSON(must(json.Marshal(said))))
	g.Expect(found["half"].Components).To(HaveLen(1))
	g.Expect(found["half"].Total).To(Equal(int32(2)), "one component was never made")
}

// What a restore had left half written stays so in the eyes of latest and of retention, also after the cluster is lost.
func TestAScanTellsWhatWasMadeOfAHalfRestoredTarget(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	made := v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
		Name: "half", UID: "uid-half", Annotations: map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off"},
	}}
	made.Spec = *backupTask("half").Snapshot.Spec
	work := ofTwo("half", "pvc", "logs")
	work.Snapshot = moverjob.BackupTask(moverjob.BackupJobInput{
		Session: &v1alpha1.BackupSession{}, Storage: &v1alpha1.BackupStorage{}, Snapshot: &made,
	}).Snapshot
	work.Snapshot.Components = 2
	for _, work := range []task.Task{work, ofTwo("whole", "pvc", "logs")} {
		code, r := p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	p.rewrite("cairn/storage/backups/shop/web/snapshots/half/logs.yaml", "  halfRestored: broke-off\n", "")
	found, _ := p.scanned(t)
	for name, whole := range map[string]bool{"half": false, "whole": true} {
		s, refusal := rebuilt.Snapshot(&v1alpha1.Repository{}, found[name], rebuilt.Policies{}, &rebuilt.Order{},
			time.Now())
		g.Expect(refusal).To(BeEmpty())
		g.Expect(s.Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
		g.Expect(restore.Good(s)).To(Equal(whole), name)
	}
	p.rewrite("cairn/storage/backups/shop/web/snapshots/half/pvc.yaml", "broke-off",
		"'"+strings.Repeat("{", 20_001)+"'")
	found, _ = p.scanned(t)
	g.Expect(found["half"].HalfRestored).To(Equal("unknown"), "a text without end does not hide the Snapshot")
}

func TestAScanTrustsOnlyTheData(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t)
	for _, name := range []string{"no-result", "no-data", "other-data", "lost", "removed", "broken", "renamed"} {
		code, r := p.run(t.Context(), ofTwo(name, "pvc", "logs"))
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	const snapshots = "cairn/storage/backups/shop/web/snapshots/"
	ids := map[string]string{}
	for _, s := range p.snapshots() {
		ids[s.Tags[judge.TagSnapshotUID]+"/"+s.Tags[judge.TagComponent]] = s.ID
	}
	p.remove(snapshots + "no-result/logs.yaml") // the mover was killed before it wrote it
	p.remove(snapshots + "lost")
	p.forget(t, ids["uid-no-data/logs"], ids["uid-renamed/pvc"], ids["uid-renamed/logs"])
	p.rewrite(snapshots+"other-data/logs.yaml", ids["uid-other-data/logs"], ids["uid-no-result/pvc"])
	p.write(snapshots+"broken/logs.yaml", "kind: Unknown\n")
	p.rewrite(snapshots+"renamed/pvc.yaml", "component: pvc", "component: ../pvc")
	code, r := p.run(t.Context(), keepTask("removed"))
	g.Expect(code).To(BeZero(), "%+v", r)
	p.write(snapshots+"removed/pvc.yaml", p.read(snapshots+"no-result/pvc.yaml")) // of an interrupted removal
	p.rewrite(snapshots+"removed/pvc.yaml", "no-result", "removed")

	found, answer := p.scanned(t)
	g.Expect(found).NotTo(HaveKey("removed"), "what was removed does not come back")
	g.Expect(found).NotTo(HaveKey("lost"), "nothing says what it is")
	g.Expect(answer).To(HaveField("Unknown", BeNumerically("==", 2)),
		"the components of lost")
	g.Expect(answer).To(HaveField("Unreadable", BeNumerically("==", 2)))
	phases := func(name string) (out []string) {
		for _, component := range []string{"pvc", "logs"} {
			c, ok := found[name].Components[component]
			if !ok {
				out = append(out, "")
				continue
			}
			out = append(out, string(c.Phase)+c.Reason)
		}
		return out
	}
	g.Expect(phases("no-result")).To(Equal([]string{"Succeeded", "Succeeded"}))
	g.Expect(phases("no-data")).To(Equal([]string{"Succeeded", "FailedSnapshotNotFound"}))
	g.Expect(phases("other-data")).To(Equal([]string{"Succeeded", "Succeeded"}))
	g.Expect(found["other-data"].Components["logs"].ID).To(Equal(ids["uid-other-data/logs"]), "the tags decide")
	g.Expect(phases("broken")).To(Equal([]string{"Succeeded", "Succeeded"}))
	g.Expect(phases("renamed")).To(Equal([]string{"", "FailedSnapshotNotFound"}))
}

// forget deletes backups from the repository behind Cairn's back.
func (p *pod) forget(t *testing.T, ids ...string) {
	t.Helper()
	g := NewWithT(t)
	engine := p.engine()
	g.Expect(engine.Delete(t.Context(), ids...)).To(Succeed())
	g.Expect(engine.Close(t.Context())).To(Succeed())
}

// rewrite replaces text in a file.
func (p *pod) rewrite(name, from, to string) {
	p.t.Helper()
	p.write(name, strings.ReplaceAll(p.read(name), from, to))
}

func (p *pod) read(name string) string {
	p.t.Helper()
	return string(must(os.ReadFile(filepath.Join(p.root, name))))
}

func TestAScanWithoutRoomFails(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	w := task.PageWriter{Write: func(int, []byte) error { return nil }}
	var err error
	for i := 0; err == nil && i < 1<<20; i++ {
		err = w.Add(task.Found{Name: strings.Repeat(layout.RepositoryPath("x"), 50) + time.Duration(i*i*7919).String()})
	}
	g.Expect(err).To(MatchError(task.ErrTooManyFound))
}

func TestAMoverMakesNoOtherConfigMap(t *testing.T) {
	t.Parallel()
	ns, other := namespace(t), namespace(t)
	clients := map[string]dynamic.Interface{"": as(t, ns, v1alpha1.MoverServiceAccount, "")}
	tries := 0
	NewWithT(t).Eventually(func() error {
		tries++ // before the policy is in force they are let through
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprint("try-", tries)}}
		return create(t, clients[""].Resource(corev1.SchemeGroupVersion.WithResource("configmaps")), c)
	}).WithTimeout(testbed.Patience).Should(MatchError(ContainSubstring("can make only the ConfigMaps")),
		"the policy is in force a moment after it was created")
	page := func(change func(*corev1.ConfigMap)) *corev1.ConfigMap {
		out := &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: ns, Name: task.PageName(scanJob, 0), Labels: map[string]string{v1alpha1.LabelScan: scanJob},
			},
			Immutable:  new(true),
			BinaryData: map[string][]byte{task.PageKey: []byte("found")},
		}
		change(out)
		return out
	}
	for name, c := range map[string]struct {
		pod, refusal string
		change       func(*corev1.ConfigMap)
	}{
		"its own":              {pod: scanJob + "-abcde"},
		"of another Job":       {pod: "keeper-other-abcde", refusal: "can make only the ConfigMaps"},
		"of a Job with a tail": {pod: "keeper-shop-abcde", refusal: "can make only the ConfigMaps"},
		"of a backup": {
			pod: "backup-web-abcde", refusal: "can make only the ConfigMaps",
			change: func(c *corev1.ConfigMap) {
				c.Name, c.Labels[v1alpha1.LabelScan] = "backup-web-found-1", "backup-web"
			},
		},
		"of no pod": {refusal: "can make only the ConfigMaps"},
		"too many": {
			pod: scanJob + "-abcde", refusal: "can make only the ConfigMaps",
			change: func(c *corev1.ConfigMap) { c.Name = scanJob + "-found-16" },
		},
		"a setting of somebody": {
			pod: scanJob + "-abcde", refusal: "can make only the ConfigMaps",
			change: func(c *corev1.ConfigMap) { c.Name = "kube-root-ca.crt" },
		},
		"one that changes": {pod: scanJob + "-abcde", refusal: "is immutable", change: func(c *corev1.ConfigMap) {
			c.Immutable = nil
		}},
		"without the label": {pod: scanJob + "-abcde", refusal: "is immutable", change: func(c *corev1.ConfigMap) {
			c.Labels = nil
		}},
		"with a finalizer": {pod: scanJob + "-abcde", refusal: "is immutable", change: func(c *corev1.ConfigMap) {
			c.Finalizers = []string{"example.com/stay"}
		}},
		"in an outbox": {pod: scanJob + "-abcde", refusal: "no other mark", change: func(c *corev1.ConfigMap) {
			c.Labels[v1alpha1.LabelLedger] = "records"
		}},
		"with a mark of Cairn": {pod: scanJob + "-abcde", refusal: "no other mark", change: func(c *corev1.ConfigMap) {
			c.Annotations = map[string]string{v1alpha1.AnnotationRecord: "c"}
		}},
		"with another key": {pod: scanJob + "-abcde", refusal: "no other mark", change: func(c *corev1.ConfigMap) {
			c.BinaryData["records.json.gz"] = []byte("records")
		}},
		"with text": {pod: scanJob + "-abcde", refusal: "no other mark", change: func(c *corev1.ConfigMap) {
			c.Data = map[string]string{"text": "found"}
		}},
		"in another namespace": {
			pod: scanJob + "-abcde", refusal: "cannot create resource",
			change: func(c *corev1.ConfigMap) { c.Namespace = other },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*corev1.ConfigMap) {}
			}
			if clients[c.pod] == nil {
				clients[c.pod] = as(t, ns, v1alpha1.MoverServiceAccount, c.pod)
			}
			admitted(t, clients[c.pod].Resource(corev1.SchemeGroupVersion.WithResource("configmaps")), page(c.change),
				c.refusal)
		})
	}
}
