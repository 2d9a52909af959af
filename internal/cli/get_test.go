package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var relativeTime = regexp.MustCompile(`"@([+-][0-9a-z]+)"`)

// load creates the objects of a file with their status. "@-5m" in it is five minutes before the program's time.
// Objects of one kind are created in different seconds if lists show them by age.
func load(t testing.TB, file, namespace string) {
	t.Helper()
	g := NewWithT(t)
	var rounds [][]*unstructured.Unstructured
	before := map[string]int{}
	for _, o := range read(t, file) {
		o.SetNamespace(namespace)
		round := 0
		if slices.Contains([]string{"BackupSession", "Snapshot", "RestoreSession"}, o.GetKind()) {
			round = before[o.GetKind()]
			before[o.GetKind()]++
		}
		if round == len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[round] = append(rounds[round], o)
	}
	var last time.Time
	for _, round := range rounds {
		g.Eventually(func() time.Time { return time.Now().Truncate(time.Second) }, "3s", "10ms").
			Should(BeTemporally(">", last), "the next second comes")
		for _, o := range round {
			status := o.Object["status"]
			g.Expect(bed.Client.Create(t.Context(), o)).To(Succeed())
			last = o.GetCreationTimestamp().Time
			o.Object["status"] = status
			g.Expect(bed.Client.Status().Update(t.Context(), o)).To(Succeed())
		}
	}
}

// read returns the objects of a file.
func read(t testing.TB, file string) []*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	raw, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	raw = relativeTime.ReplaceAllFunc(raw, func(m []byte) []byte {
		d, err := time.ParseDuration(string(relativeTime.FindSubmatch(m)[1]))
		g.Expect(err).NotTo(HaveOccurred())
		return []byte(`"` + pinned.Add(d).UTC().Format(time.RFC3339) + `"`)
	})
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	var out []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		if errors.Is(err, io.EOF) {
			return out
		}
		g.Expect(err).NotTo(HaveOccurred())
		out = append(out, o)
	}
}

func TestGet(t *testing.T) {
	ns := namespace(t, "shop")
	load(t, "testdata/shop.yaml", ns)

	tables := map[string][]string{
		"policies.txt":              {"get", "policies", "-n", ns},
		"policy-photos.txt":         {"get", "policies", "photos", "-n", ns},
		"backupsessions.txt":        {"get", "backupsessions", "-n", ns},
		"backupsession-failed.txt":  {"get", "bsess", "shop-hourly-1795158420", "-n", ns},
		"backupsession-partial.txt": {"get", "bsess", "shop-hourly-1795154820", "-n", ns},
		"snapshots.txt":             {"get", "snapshots", "-n", ns},
		"snapshot-two.txt":          {"get", "snap", "shop-web-1", "-n", ns},
		"repositories.txt":          {"get", "repositories", "-n", ns},
		"restoresessions.txt":       {"get", "restores", "-n", ns},
		"restoresession-less.txt":   {"get", "restores", "web-again", "-n", ns},
	}
	for file, args := range tables {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r := runIn(t, args...)
			NewWithT(t).Expect(r.err).To(BeEmpty())
			NewWithT(t).Expect(r.code).To(Equal(0))
			golden(t, filepath.Join("get", file), r.out)
		})
	}

	t.Run("all namespaces have a column", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "get", "backupsessions", "-A")
		g.Expect(r.code).To(Equal(0))
		g.Expect(r.out).To(MatchRegexp(`^NAMESPACE +NAME `))
		g.Expect(r.out).To(MatchRegexp(`(?m)^shop +shop-hourly-1795154820 +2/2 +Succeeded`))
	})

	t.Run("json holds objects whole", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "get", "policies", "-n", ns, "-o", "json")
		g.Expect(r.code).To(Equal(0), r.err)
		var list struct {
			Kind  string
			Items []unstructured.Unstructured
		}
		g.Expect(json.Unmarshal([]byte(r.out), &list)).To(Succeed())
		g.Expect(list.Kind).To(Equal("List"))
		var kinds []string
		for _, o := range list.Items {
			kinds = append(kinds, o.GetKind()+"/"+o.GetName())
			g.Expect(o.GetAPIVersion()).To(Equal("backup.cairn.dev/v1alpha1"))
			g.Expect(o.GetManagedFields()).To(BeEmpty())
		}
		g.Expect(kinds).
			To(Equal([]string{"PolicySync/calm", "PolicySync/shop", "BackupBatch/shop", "BackupConfiguration/photos"}))
		g.Expect(r.out).To(ContainSubstring("main@sha1:4be2a1f0c3d4e5f60718293a4b5c6d7e8f901234"))
	})

	t.Run("one object in yaml can be applied again", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "get", "restoresessions", "web-again", "-n", ns, "-o", "yaml")
		g.Expect(r.code).To(Equal(0), r.err)
		o := &unstructured.Unstructured{}
		g.Expect(yaml.Unmarshal([]byte(r.out), &o.Object)).To(Succeed())
		g.Expect(o.GetKind()).To(Equal("RestoreSession"))
		g.Expect(bed.Client.Update(t.Context(), o, client.DryRunAll)).To(Succeed())
	})

	t.Run("a name that is not there is an error", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "get", "snapshots", "nosuch", "-n", ns)
		g.Expect(r).
			To(
				Equal(
					result{
						code: 1,
						err:  "error: there is no snapshot nosuch in namespace shop: leave out the name to list all\n",
					}))
	})

	t.Run("nothing there is said beside the output", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "get", "snapshots", "-n", "default")
		g.Expect(r).To(Equal(result{err: "no snapshots in namespace default\n"}))
		g.Expect(runIn(t, "get", "snapshots", "-n", "default", "-o", "json").out).To(ContainSubstring(`"items": []`))
	})

	t.Run("names are completed", func(t *testing.T) {
		g := NewWithT(t)
		for _, x := range []struct{ args, want string }{
			{"get policies --kubeconfig K -n shop s", "shop\n"},
			{"get repositories --kubeconfig K -n shop ", "shop-uploads\nshop-web\n"},
			{"trigger --kubeconfig K -n shop ba", "batch/shop\n"},
			{"trigger --kubeconfig K -n shop bc/", "bc/photos\nbc/shop-uploads\n"},
			{"trigger --kubeconfig K -n shop batch/shop --session ", "hourly\nnightly\n"},
			{"restore --kubeconfig K -n shop --snapshot shop-w", "shop-web-1\n"},
			{"restore --kubeconfig K -n shop --repository ", "shop-uploads\nshop-web\n"},
			{"restore --kubeconfig K -n shop --snapshot shop-web-1 --component ", "data\nlogs\n"},
			{"get snapshots --kubeconfig K -n sh", "shop\n"},
		} {
			args := strings.Split(strings.Replace(x.args, " K ", " "+bed.Kubeconfig+" ", 1), " ")
			r := run(t, append([]string{"__completeNoDesc"}, args...)...)
			g.Expect(r.out).To(Equal(x.want+":4\n"), x.args)
		}
	})
}

// The column names the restore that broke off. Without such a Snapshot there is no column.
func TestGetShowsWhatWasMadeOfAHalfRestoredTarget(t *testing.T) {
	g, ns := NewWithT(t), namespace(t, "half")
	for i, by := range []string{"", "broke-off", "of\tanother"} {
		snap := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("s-%d", i)},
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "s", Repository: "photos", Session: "s", BackupSession: "b",
				Version: v1alpha1.SnapshotLayoutVersion,
				AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "photos"},
			},
		}
		if by != "" {
			snap.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: by}
		}
		g.Expect(bed.Client.Create(t.Context(), snap)).To(Succeed())
	}
	out := runIn(t, "get", "snapshots", "-n", ns).out
	g.Expect(out).To(MatchRegexp(`PHASE +HALF-RESTORED +SNAPSHOT-TIME`))
	g.Expect(out).To(MatchRegexp(`(?m)^s-0 .* - +- +\S+$`))
	g.Expect(out).To(MatchRegexp(`(?m)^s-1 .* broke-off +- +\S+$`))
	g.Expect(out).To(MatchRegexp(`(?m)^s-2 .* unknown +- +\S+$`), "anybody can have chosen the text")
}

// A scan makes the Snapshots of an old repository in one moment, and in any order. The times of their backups count.
func TestGetShowsWhenABackupWasMadeAndIfItIsDamaged(t *testing.T) {
	g, ns := NewWithT(t), namespace(t, "scanned")
	day := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, days := range []int{2, 3, 1} {
		at := day.AddDate(0, 0, days)
		snap := &v1alpha1.Snapshot{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: ns, Name: fmt.Sprintf("day-%d", days),
				Annotations: map[string]string{v1alpha1.AnnotationRebuilt: "scan"},
			},
			Spec: v1alpha1.SnapshotSpec{
				SnapshotID: "s", Repository: "photos", Session: "s", BackupSession: "b",
				Version: v1alpha1.SnapshotLayoutVersion,
				AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "photos"},
			},
		}
		bed.Create(t, snap)
		bed.EditStatus(t, snap, func() {
			snap.Status.Phase, snap.Status.SnapshotTime = v1alpha1.SnapshotSucceeded, new(metav1.NewTime(at))
			whole := i != 0
			snap.Status.Integrity = &whole
			snap.Status.Components = map[string]v1alpha1.Component{
				"data": {Phase: v1alpha1.SnapshotSucceeded, Integrity: new(true)},
				"logs": {Phase: v1alpha1.SnapshotSucceeded, Integrity: &whole},
			}
		})
	}
	out := runIn(t, "get", "snapshots", "-n", ns).out
	g.Expect(out).To(MatchRegexp(`^NAME .* PHASE +INTEGRITY +SNAPSHOT-TIME +AGE
day-3 .* Succeeded +- +2025-03-04T12:00:00Z +12h
day-2 .* Succeeded +damaged +2025-03-03T12:00:00Z +12h
day-1 .* Succeeded +- +2025-03-02T12:00:00Z +12h
$`))
	out = runIn(t, "get", "snapshots", "day-2", "-n", ns).out
	g.Expect(out).To(MatchRegexp(`component data: .* uploaded\n`))
	g.Expect(out).To(MatchRegexp(`component logs: .* uploaded, damaged\n`))
	g.Expect(runIn(t, "get", "snapshots", "day-1", "-n", ns).out).NotTo(ContainSubstring("INTEGRITY"))
}
