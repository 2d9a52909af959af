package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// photos is a namespace with a repository on a real S3 server whose name only the cluster knows, and its Snapshots
// one and two. It returns the server's address.
func photos(t *testing.T, ns string) string {
	t.Helper()
	g := NewWithT(t)
	s3 := enginetest.StartS3(t)
	src := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		g.Expect(os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(src, name), []byte(content), 0o644)).To(Succeed())
	}
	r := enginetest.Repo(t, repository.Storage{S3: &s3}.Sub(strings.TrimSuffix(layout.EnginePath("photos"), "/")))
	driver := kopia.Driver{}
	g.Expect(driver.Init(t.Context(), r)).To(Succeed())
	engine := enginetest.Open(t, driver, r)
	ids := map[string]string{}
	backup := func(name string) {
		t.Helper()
		s, err := engine.Backup(t.Context(), repository.Source{Name: "photos", Dir: src}, repository.BackupOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		ids[name] = s.ID
	}
	write("2025/one.jpg", "the first photo")
	write("2025/two.jpg", "the second photo")
	write("odd\x1b[31m", "x")
	backup("one")
	write("2025/two.jpg", "the second photo, retouched")
	write("2026/three.jpg", "the third")
	g.Expect(os.Remove(filepath.Join(src, "odd\x1b[31m"))).To(Succeed())
	backup("two")

	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	g.Expect(bed.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: meta("s3"), StringData: map[string]string{
		v1alpha1.S3AccessKeyID: s3.AccessKey, v1alpha1.S3SecretAccessKey: s3.SecretKey,
	}})).To(Succeed())
	g.Expect(
		bed.Client.Create(
			t.Context(), &corev1.Secret{
				ObjectMeta: meta("enc"),
				StringData: map[string]string{"password": r.Password + "\n"},
			})).
		To(Succeed())
	g.Expect(
		bed.Client.Create(
			t.Context(), &v1alpha1.BackupStorage{
				ObjectMeta: meta("s3"),
				Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
					Provider: v1alpha1.ProviderS3,
					S3: &v1alpha1.S3Storage{
						Endpoint: "http://s3.invalid:9000", Bucket: s3.Bucket, Region: s3.Region,
						SecretName: "s3",
					},
				}},
			})).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &v1alpha1.Repository{
		ObjectMeta: meta("photos"),
		Spec: v1alpha1.RepositorySpec{
			AppRef:     v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "photos"},
			StorageRef: v1alpha1.ObjectReference{Name: "s3"},
			Path:       "/photos", EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	})).To(Succeed())
	for name, id := range ids {
		snap := &v1alpha1.Snapshot{ObjectMeta: meta(name), Spec: v1alpha1.SnapshotSpec{
			SnapshotID: name, Repository: "photos", Session: "s", BackupSession: "b",
			Version: v1alpha1.SnapshotLayoutVersion,
			AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "photos"},
		}}
		g.Expect(bed.Client.Create(t.Context(), snap)).To(Succeed())
		snap.Status.Phase = v1alpha1.SnapshotSucceeded
		snap.Status.Components = map[string]v1alpha1.Component{"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: id}}
		g.Expect(bed.Client.Status().Update(t.Context(), snap)).To(Succeed())
	}
	return "http://" + s3.Endpoint
}

func TestLookingIntoSnapshots(t *testing.T) {
	ns := namespace(t, "browse")
	endpoint := photos(t, ns)
	cairn := func(args ...string) result {
		t.Helper()
		r := runIn(t, append([]string{"snapshot"}, append(args, "-n", ns, "--endpoint", endpoint)...)...)
		NewWithT(t).Expect(r.out + r.err).
			NotTo(Or(ContainSubstring("correct horse"), ContainSubstring(enginetest.S3SecretKey)))
		return r
	}
	g := NewWithT(t)
	r := cairn("ls", "one")
	g.Expect(r.code).To(BeZero(), r.err)
	g.Expect(r.out).To(MatchRegexp(`(?m)^drwxr-xr-x .* 0 \S+ 2025/$`))
	g.Expect(r.out).To(ContainSubstring(`"odd\x1b[31m"`), "a name does not steer the terminal")
	r = cairn("ls", "two", "/", "-R")
	g.Expect(r.out).To(And(ContainSubstring(" 2025/two.jpg\n"), ContainSubstring(" 2026/three.jpg\n")))
	g.Expect(cairn("ls", "two", "nothing").code).To(Equal(1))

	g.Expect(cairn("cat", "one", "2025/two.jpg")).To(Equal(result{out: "the second photo"}))
	g.Expect(cairn("cat", "one", "2025").code).To(Equal(1))

	r = cairn("diff", "one", "two")
	g.Expect(r).
		To(Equal(result{
			out: "M 2025/two.jpg (27 B, was 16 B)\n+ 2026/\n+ 2026/three.jpg (9 B)\n- \"odd\\x1b[31m\" (1 B)\n" +
				"2 added, 1 removed, 1 changed, 0 with other attributes\n",
		}))

	out := filepath.Join(t.TempDir(), "new", "dir")
	g.Expect(os.MkdirAll(filepath.Dir(out), 0o755)).To(Succeed())
	r = cairn("download", "two", out, "--include", "/2025")
	g.Expect(r).To(Equal(result{out: "42 B in 2 files downloaded to " + out + "\n"}))
	g.Expect(os.ReadFile(filepath.Join(out, "2025/one.jpg"))).To(BeEquivalentTo("the first photo"))
	g.Expect(filepath.Join(out, "2026")).NotTo(BeADirectory())
	none := filepath.Join(t.TempDir(), "none")
	r = cairn("download", "two", none, "--include", "/2025,/2027")
	g.Expect(r.code).To(BeZero())
	g.Expect(r.err).To(ContainSubstring("nothing matches /2027"))
	r = cairn("download", "two", none, "--include", "/2027")
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.err).To(ContainSubstring("nothing in the Snapshot matches --include"))
	g.Expect(cairn("download", "two", none, "--exclude", "[").err).
		To(ContainSubstring(`invalid --exclude: pattern "[" is not valid`))
	r = cairn("download", "two", out)
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.err).To(ContainSubstring("--overwrite"))
	g.Expect(cairn("download", "two", out, "--overwrite").code).To(BeZero())

	g.Expect(cairn("ls", "nothing").err).To(ContainSubstring("there is no Snapshot nothing in namespace browse"))
	g.Expect(cairn("ls", "one", "--component", "other").err).To(ContainSubstring("it has pvc"))
	r = runIn(t, "snapshot", "ls", "one", "-n", ns)
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.err).To(ContainSubstring("--endpoint"),
		"the error says how to reach a storage that only the cluster reaches")
}

func TestAVolumeOfTheClusterCantBeReadFromHere(t *testing.T) {
	g, ns := NewWithT(t), namespace(t, "browse-local")
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	app := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "photos"}
	g.Expect(
		bed.Client.Create(
			t.Context(), &v1alpha1.BackupStorage{
				ObjectMeta: meta("disk"),
				Spec: v1alpha1.BackupStorageSpec{Storage: v1alpha1.Storage{
					Provider: v1alpha1.ProviderLocal,
					Local: &v1alpha1.LocalStorage{
						PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "disk"},
					},
				}},
			})).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &v1alpha1.Repository{
		ObjectMeta: meta("photos"),
		Spec: v1alpha1.RepositorySpec{
			AppRef: app, StorageRef: v1alpha1.ObjectReference{Name: "disk"}, Path: "/photos",
			EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
		},
	})).To(Succeed())
	snap := &v1alpha1.Snapshot{ObjectMeta: meta("one"), Spec: v1alpha1.SnapshotSpec{
		SnapshotID: "one", Repository: "photos", Session: "s", BackupSession: "b",
		Version: v1alpha1.SnapshotLayoutVersion,
		AppRef:  app,
	}}
	g.Expect(bed.Client.Create(t.Context(), snap)).To(Succeed())
	snap.Status.Components = map[string]v1alpha1.Component{"pvc": {ID: "k"}}
	g.Expect(bed.Client.Status().Update(t.Context(), snap)).To(Succeed())
	r := runIn(t, "snapshot", "ls", "one", "-n", ns)
	g.Expect(r.code).To(Equal(1))
	g.Expect(r.err).To(And(ContainSubstring("volume in the cluster"), ContainSubstring("--new-claim")))
}

func TestVolumeSnapshotsCantBeReadFromHere(t *testing.T) {
	g, ns := NewWithT(t), namespace(t, "browse-volumes")
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	app := v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "photos"}
	g.Expect(bed.Client.Create(t.Context(), &v1alpha1.Repository{
		ObjectMeta: meta("photos"),
		Spec: v1alpha1.RepositorySpec{
			AppRef: app, Driver: v1alpha1.DriverVolumeSnapshotter,
		},
	})).To(Succeed())
	snap := &v1alpha1.Snapshot{ObjectMeta: meta("one"), Spec: v1alpha1.SnapshotSpec{
		SnapshotID: "one", Repository: "photos", Session: "s", BackupSession: "b",
		Version: v1alpha1.SnapshotLayoutVersion,
		AppRef:  app,
	}}
	g.Expect(bed.Client.Create(t.Context(), snap)).To(Succeed())
	snap.Status.Components = map[string]v1alpha1.Component{"pvc": {ID: "k"}}
	g.Expect(bed.Client.Status().Update(t.Context(), snap)).To(Succeed())
	for _, args := range [][]string{
		{"ls", "one"},
		{"cat", "one", "x"},
		{"download", "one", t.TempDir()},
		{"diff", "one", "one"},
	} {
		r := runIn(t, append(append([]string{"snapshot"}, args...), "-n", ns)...)
		g.Expect(r.code).To(Equal(1))
		g.Expect(r.err).To(ContainSubstring("Snapshot one is made of VolumeSnapshots"), args[0])
	}
	r := runIn(t, "get", "repositories", "-n", ns)
	g.Expect(r.out).To(MatchRegexp(`photos +PersistentVolumeClaim/photos +- +- `), r.out)
}
