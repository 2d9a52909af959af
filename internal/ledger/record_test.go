package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/config"
	"github.com/cairn-backup/cairn/internal/gitstore"
)

func TestRecords(t *testing.T) {
	g := NewWithT(t)
	session, snapshots := run()
	backup, err := one(BackupRecord("production", session, snapshots))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(backup.Path).To(Equal("records/shop/backupbatch.shop/2026-07/shop-hourly-1795154820-0d9ab5f3.yaml"))
	g.Expect(backup.Object).To(Equal(Object{
		Kind: "BackupSession", Namespace: "shop", Name: session.Name, UID: session.UID, Phase: "Failed",
		Reason:   "TargetsFailed",
		Revision: session.Status.Resolved.Policy.Revision,
	}))
	golden(t, "backupsession.yaml", backup.Content)

	restored, err := one(RestoreRecord("production", restore()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(restored.Path).To(Equal("records/shop/restoresession.drill/2026-08/drill-aa9ab5f3.yaml"),
		"the month of its end, in UTC")
	golden(t, "restoresession.yaml", restored.Content)

	application, err := one(RestoreBatchRecord("production", restoreBatch()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(application.Path).To(Equal("records/shop/restorebatch.back/2026-08/back-bb9ab5f3.yaml"))
	g.Expect(application.Object).To(Equal(Object{
		Kind: "RestoreBatch", Namespace: "shop", Name: "back", UID: "bb9ab5f3-8c1e-4f07-9f43-0d1f0a4dd001",
		Phase:    "Failed",
		Reason:   "TargetsFailed",
		Revision: "main@sha1:1111",
	}))
	golden(t, "restorebatch.yaml", application.Content)

	slices.Reverse(snapshots)
	again, err := one(BackupRecord("production", session, snapshots))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(backup), "the order of the Snapshots does not matter")

	for _, r := range []Record{backup, restored, application} {
		g.Expect(gitstore.CheckPath(Folder("", "production") + "/" + r.Path)).To(Succeed())
		for _, never := range []string{
			"s3cr3t", "secret-project", "var/www", "ownerReferences", "finalizers", "managedFields", "resourceVersion",
			"observedGeneration", "filesDone", "9c1f0aa", "runAsUser", "job-x",
		} {
			g.Expect(r.Content).NotTo(ContainSubstring(never))
		}
		packed, err := compressed(r.Content)
		g.Expect(err).NotTo(HaveOccurred())
		t.Logf("%s: %d bytes, %d packed", r.Object.Kind, len(r.Content), packed)
	}
}

// Who reads only the commits must not take a success that lacks something for a whole one.
func TestACommitSaysThatASuccessIsPartial(t *testing.T) {
	t.Parallel()
	backup, snapshots := run()
	restored, batch := restore(), restoreBatch()
	for name, tt := range map[string]struct {
		phase      string
		conditions []metav1.Condition
		want       string
	}{
		"whole":        {phase: "Succeeded", want: "Succeeded"},
		"lacks a file": {phase: "Succeeded", conditions: partial(metav1.ConditionTrue), want: "Succeeded (Partial)"},
		"no longer":    {phase: "Succeeded", conditions: partial(metav1.ConditionFalse), want: "Succeeded"},
		"failed":       {phase: "Failed", conditions: partial(metav1.ConditionTrue), want: "Failed (TargetsFailed)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			reason := map[string]string{"Succeeded": "Succeeded", "Failed": "TargetsFailed"}[tt.phase]
			s, r, b := backup.DeepCopy(), restored.DeepCopy(), batch.DeepCopy()
			s.Status.Phase, s.Status.Reason = v1alpha1.BackupSessionPhase(tt.phase), reason
			r.Status.Phase, r.Status.Reason = v1alpha1.RestoreSessionPhase(tt.phase), reason
			b.Status.Phase, b.Status.Reason = v1alpha1.RestoreSessionPhase(tt.phase), reason
			s.Status.Conditions, r.Status.Conditions, b.Status.Conditions = tt.conditions, tt.conditions, tt.conditions
			r.Status.Components = map[string]v1alpha1.RestoredComponent{"pvc": {LinksNotRestored: 1}}
			line := func(files []Record, err error) string {
				g.Expect(err).NotTo(HaveOccurred())
				return objectLine(files[0].Object)
			}
			g.Expect(line(BackupRecord("c1", s, snapshots))).To(HaveSuffix("/" + s.Name + " " + tt.want))
			g.Expect(line(RestoreRecord("c1", r))).To(HaveSuffix("/" + r.Name + " " + tt.want))
			g.Expect(line(RestoreBatchRecord("c1", b))).To(HaveSuffix("/" + b.Name + " " + tt.want))
		})
	}
}

// The commit says of a restore what the command line says.
func TestACommitSaysWhatARestoreLacks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ reason, want string }{
		"the attributes of a root directory": {v1alpha1.ReasonPartial, "Succeeded"},
		"what another Snapshot holds":        {v1alpha1.ReasonHoldsLess, "Succeeded (HoldsLess)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r := restore()
			r.Status.Phase, r.Status.Reason = v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded
			r.Status.Components = map[string]v1alpha1.RestoredComponent{
				"pvc": {OwnersNotRestored: 1, AttributesNotRestored: 2},
			}
			r.Status.Conditions = partial(metav1.ConditionTrue)
			r.Status.Conditions[0].Reason = tt.reason
			files, err := RestoreRecord("c1", r)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(objectLine(files[0].Object)).To(HaveSuffix("/" + r.Name + " " + tt.want))
		})
	}
}

func partial(is metav1.ConditionStatus) []metav1.Condition {
	return []metav1.Condition{{
		Type: v1alpha1.ConditionPartial, Status: is, Reason: v1alpha1.ReasonPartial, Message: "it lacks a file",
	}}
}

// The record of an ordinary run takes no more than a kilobyte of the repository.
func TestRecordSize(t *testing.T) {
	for name, targets := range map[string]int{"one target": 1, "a batch of three": 3} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			session, snapshots := run()
			session.Status.Targets = session.Status.Targets[:targets]
			session.Status.Snapshots = session.Status.Snapshots[:targets]
			session.Status.Resolved.Targets = session.Status.Resolved.Targets[:targets]
			r, err := one(BackupRecord("production", session, snapshots[:targets]))
			g.Expect(err).NotTo(HaveOccurred())
			size, err := compressed(r.Content)
			g.Expect(err).NotTo(HaveOccurred())
			t.Logf("%d bytes", size)
			limit := 1024
			if targets > 1 {
				// each Snapshot has identities and times of its own, which nothing compresses
				limit += (targets - 1) * 128
			}
			g.Expect(size).To(BeNumerically("<=", limit))
		})
	}
}

// A record says what a backup that succeeded can lack.
func TestARecordCountsWhatASnapshotCanLack(t *testing.T) {
	g := NewWithT(t)
	session, snapshots := run()
	for name, c := range snapshots[0].Status.Components {
		c.Changed, c.Restless = 3, 4
		snapshots[0].Status.Components[name] = c
	}
	r, err := one(BackupRecord("production", session, snapshots))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Content).To(And(ContainSubstring("changed: 3\n"), ContainSubstring("restless: 4\n")))
}

func compressed(s string) (int, error) {
	var b bytes.Buffer
	err := compress(&b, []byte(s))
	return b.Len(), err
}

func TestPathOfRecord(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.BackupSession)
		want   string
	}{
		"every 15 minutes needs no folder a day": {
			func(s *v1alpha1.BackupSession) { s.Status.Resolved.Schedule = "*/15 * * * *" },
			"records/shop/backupbatch.shop/2026-07/shop-hourly-1795154820-0d9ab5f3.yaml",
		},
		"every 14 minutes does": {
			func(s *v1alpha1.BackupSession) { s.Status.Resolved.Schedule = "*/14 * * * *" },
			"records/shop/backupbatch.shop/2026-07/31/shop-hourly-1795154820-0d9ab5f3.yaml",
		},
		"every minute of the business day does": {
			func(s *v1alpha1.BackupSession) { s.Status.Resolved.Schedule = "* 9-17 * * *" },
			"records/shop/backupbatch.shop/2026-07/31/shop-hourly-1795154820-0d9ab5f3.yaml",
		},
		"a schedule that cannot be read counts as none": {
			func(s *v1alpha1.BackupSession) { s.Status.Resolved.Schedule = "often" },
			"records/shop/backupbatch.shop/2026-07/shop-hourly-1795154820-0d9ab5f3.yaml",
		},
		"a name that is too long for a file is cut and hashed": {
			func(s *v1alpha1.BackupSession) { s.Spec.Invoker.Name = strings.Repeat("a", 253) },
			"records/shop/backupbatch." + strings.Repeat("a", 179) +
				"-32859a3a/2026-07/shop-hourly-1795154820-0d9ab5f3.yaml",
		},
		"a run whose name is too long for a file": {
			func(s *v1alpha1.BackupSession) { s.Name = strings.Repeat("a", 240) + "-" + strings.Repeat("b", 12) },
			"records/shop/backupbatch.shop/2026-07/" + strings.Repeat("a", 240) + "-0d9ab5f3.yaml",
		},
		"a run whose name just fits": {
			func(s *v1alpha1.BackupSession) { s.Name = strings.Repeat("a", 241) },
			"records/shop/backupbatch.shop/2026-07/" + strings.Repeat("a", 241) + "-0d9ab5f3.yaml",
		},
		"a run that was skipped has the month of its creation": {
			func(s *v1alpha1.BackupSession) {
				s.Status = v1alpha1.BackupSessionStatus{Phase: v1alpha1.BackupSessionSkipped}
			},
			"records/shop/backupbatch.shop/2026-07/shop-hourly-1795154820-0d9ab5f3.yaml",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			session, _ := run()
			tt.change(session)
			r, err := one(BackupRecord("production", session, nil))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Path).To(Equal(tt.want))
			g.Expect(gitstore.CheckPath(r.Path)).To(Succeed())
		})
	}
}

func TestFolder(t *testing.T) {
	g := NewWithT(t)
	for _, top := range []string{"", ".", "./", "/"} {
		g.Expect(Folder(top, "c1")).To(Equal("clusters/c1"))
	}
	g.Expect(Folder("./a/b/", "c1")).To(Equal("a/b/clusters/c1"))
}

// Each document passes the schema of its kind, and the schema drops nothing of it.
func TestRecordsFitTheSchema(t *testing.T) {
	session, snapshots := run()
	backup, err := one(BackupRecord("production", session, snapshots))
	if err != nil {
		t.Fatal(err)
	}
	restored, err := one(RestoreRecord("production", restore()))
	if err != nil {
		t.Fatal(err)
	}
	application, err := one(RestoreBatchRecord("production", restoreBatch()))
	if err != nil {
		t.Fatal(err)
	}
	schemas := loadSchemas(t)
	for _, r := range []Record{backup, restored, application} {
		for i, doc := range strings.Split(r.Content, "---\n") {
			t.Run(fmt.Sprint(r.Object.Kind, " ", i), func(t *testing.T) {
				g := NewWithT(t)
				var o map[string]any
				g.Expect(yaml.UnmarshalStrict([]byte(doc), &o)).To(Succeed())
				s := schemas[o["kind"].(string)]
				g.Expect(s).NotTo(BeNil())
				validator, _, err := validation.NewSchemaValidator(s)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(validation.ValidateCustomResource(nil, o, validator)).To(BeEmpty())
				structural, err := schema.NewStructural(s)
				g.Expect(err).NotTo(HaveOccurred())
				before, _ := json.Marshal(o)
				pruning.Prune(o, structural, true)
				after, _ := json.Marshal(o)
				g.Expect(string(after)).To(Equal(string(before)))
			})
		}
	}
}

func loadSchemas(t testing.TB) map[string]*apiextensions.JSONSchemaProps {
	t.Helper()
	out := map[string]*apiextensions.JSONSchemaProps{}
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(config.CRDs, "crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := config.CRDs.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(raw, &crd); err != nil {
			t.Fatal(err)
		}
		var props apiextensions.JSONSchemaProps
		err = apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
			crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)
		if err != nil {
			t.Fatal(err)
		}
		out[crd.Spec.Names.Kind] = &props
	}
	return out
}

func BenchmarkBackupRecord(b *testing.B) {
	session, snapshots := run()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := one(BackupRecord("production", session, snapshots)); err != nil {
			b.Fatal(err)
		}
	}
}

// The record has enough to find a VolumeSnapshot again without the cluster that made it.
func TestTheRecordOfAVolumeSnapshot(t *testing.T) {
	g := NewWithT(t)
	session, snapshots := run()
	snapshots[0].Status.Components["pvc"] = v1alpha1.Component{
		Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverVolumeSnapshotter, ID: "uid",
		VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{
			PVCName: "data", VolumeSnapshotName: "data-1795154820", VolumeSnapshotTime: at(5),
			VolumeSnapshotContentName: "snapcontent-1",
			SnapshotHandle:            "snap-17", Driver: "disk.example.com", DeletionPolicy: "Retain",
			ContentDeletionPolicy: "Delete", RestoreSize: 1 << 30,
			StorageClassName: "disk", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode: corev1.PersistentVolumeFilesystem,
		}},
	}
	record, err := one(BackupRecord("production", session, snapshots))
	g.Expect(err).NotTo(HaveOccurred())
	for _, says := range []string{
		"snapshotHandle: snap-17", "driver: disk.example.com",
		"volumeSnapshotName: data-1795154820", "restoreSize: 1073741824", "storageClassName: disk",
	} {
		g.Expect(record.Content).To(ContainSubstring(says))
	}
}
