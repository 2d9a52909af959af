package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

const restoreNamespace = "restore"

// restoreApp is a volume "data" in use by the pod "app", and two Snapshots of it.
type restoreApp struct {
	*volumeApp
	uid        string // of the claim
	one, two   string // Snapshots
	between    string // a time after Snapshot one and before Snapshot two
	restorings int
}

// TestRestore restores in every way that a RestoreSession knows, and looks into the backups.
func TestRestore(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := deployRestoreApp(t, bed)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a used volume without confirm", a.unconfirmed},
		{"newer files are kept", a.newer},
		{"extra files are deleted, and all is verified", a.exact},
		{"some files, as it was at a time, into a new claim", a.byTime},
		{"from another namespace", a.otherNamespace},
		{"the command line looks into snapshots", a.browse},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

func deployRestoreApp(t *testing.T, bed *testbed.Testbed) *restoreApp {
	t.Helper()
	g := NewWithT(t)
	a := &restoreApp{volumeApp: deployVolumeApp(t, bed, restoreNamespace, 3, 1000)}
	a.configure(t, "data")
	applyTo(t, bed, a.namespace, `
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 65532, runAsGroup: 65532}
  containers:
  - {name: app, image: "cairn.local/toolbox:dev", args: [idle], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`)
	g.Expect(bed.WaitPod(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "app"})).To(Succeed())
	var claim corev1.PersistentVolumeClaim
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "data"}, &claim)).To(Succeed())
	a.uid = string(claim.UID)
	a.write(t, "docs/a.txt", "first")
	a.write(t, "docs/b.md", "first")
	a.one = a.backup(t)
	time.Sleep(2 * time.Second)
	a.between = time.Now().UTC().Format(time.RFC3339)
	time.Sleep(2 * time.Second)
	a.write(t, "docs/a.txt", "second")
	a.two = a.backup(t)
	return a
}

func (a *restoreApp) write(t *testing.T, name, text string) {
	t.Helper()
	_, err := a.bed.Exec(t.Context(), a.namespace, "app", nil, "/toolbox", "write", "/data/"+name, text)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

func (a *restoreApp) read(t *testing.T, name string) string {
	t.Helper()
	out, err := a.bed.Exec(t.Context(), a.namespace, "app", nil, "/toolbox", "cat", "/data/"+name)
	if err != nil {
		return "missing"
	}
	return strings.TrimSpace(out)
}

// backup runs the session and returns its Snapshot.
func (a *restoreApp) backup(t *testing.T) string {
	t.Helper()
	ended := endOf(t, a.bed, a.namespace, a.start(t, "data"))
	NewWithT(t).Expect(ended.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", ended.Status.Targets)
	return a.snapshot(t, ended.Name).Name
}

// restore runs "cairn restore" to its end.
func (a *restoreApp) restore(t *testing.T, namespace string, args ...string) (*v1alpha1.RestoreSession, string, error) {
	t.Helper()
	a.restorings++
	name := fmt.Sprintf("r%d", a.restorings)
	out, err := program(t, a.bed, "", "cairn",
		append([]string{"restore", name, "-n", namespace, "--wait", "--timeout", patience.String()}, args...)...)
	t.Log(out)
	return endOfRestore(t, a.bed, namespace, name), out, err
}

func (a *restoreApp) unconfirmed(t *testing.T) {
	g := NewWithT(t)
	s, out, err := a.restore(t, a.namespace, "--snapshot", a.one, "--target", "data")
	g.Expect(err).To(HaveOccurred())
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonVolumeInUse))
	g.Expect(out).To(ContainSubstring("spec.confirm: "+a.uid), "it is said what to write")
	s, _, _ = a.restore(t, a.namespace, "--snapshot", a.one, "--target", "data", "--confirm", "00000000-another")
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationWrong))
	g.Expect(a.read(t, "docs/a.txt")).To(Equal("second"), "nothing was written")
}

func (a *restoreApp) newer(t *testing.T) {
	g := NewWithT(t)
	a.write(t, "docs/b.md", "newer than the backup")
	s, _, err := a.restore(t, a.namespace, "--snapshot", a.two, "--target", "data", "--confirm", a.uid, "--overwrite",
		"IfNewer")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(a.read(t, "docs/b.md")).To(Equal("newer than the backup"))
	g.Expect(s.Status.Components["pvc"].Kept).To(BeNumerically(">", 0))
	g.Expect(s.Status.Components["pvc"].Overwritten).To(BeZero())
}

func (a *restoreApp) exact(t *testing.T) {
	g := NewWithT(t)
	a.write(t, "extra/file", "not in the backup")
	s, _, err := a.restore(t, a.namespace, "--snapshot", a.one, "--target", "data", "--confirm", a.uid,
		"--delete-extra", "--verify")
	g.Expect(err).NotTo(HaveOccurred())
	c := s.Status.Components["pvc"]
	g.Expect(a.read(t, "docs/a.txt")).To(Equal("first"))
	g.Expect(a.read(t, "docs/b.md")).To(Equal("first"))
	g.Expect(a.read(t, "extra/file")).To(Equal("missing"))
	g.Expect(c.Overwritten).To(BeEquivalentTo(a.files + 2))
	g.Expect(c.Deleted).To(BeEquivalentTo(2), "the file and its directory")
	g.Expect(c.Verified).To(BeEquivalentTo(a.files + 2))
	g.Expect(c.Different).To(BeZero())
}

func (a *restoreApp) byTime(t *testing.T) {
	g := NewWithT(t)
	s, _, err := a.restore(t, a.namespace, "--repository", "data", "--at", a.between, "--new-claim", "evening",
		"--size", "1Gi", "--include", "/docs", "--exclude", "*.md")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Status.Resolved.Snapshot).To(Equal(a.one))
	reader := testbed.VolumePod{Namespace: a.namespace, Name: "reader", Claim: "evening", User: 65532}
	g.Expect(a.bed.WithVolumePod(t.Context(), reader, func(ctx contextT) error {
		out, err := a.bed.Exec(ctx, a.namespace, "reader", nil, "/toolbox", "ls", "/data")
		g.Expect(out).To(ContainSubstring("docs/a.txt"))
		g.Expect(out).NotTo(Or(ContainSubstring("b.md"), ContainSubstring("file-0000")))
		return err
	})).To(Succeed())
}

func (a *restoreApp) otherNamespace(t *testing.T) {
	g := NewWithT(t)
	const other = "restore-other"
	scratchNamespace(t, a.bed, other)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "password"},
		Data:       map[string][]byte{v1alpha1.EncryptionPassword: []byte("canary-encryption-password")},
	}
	g.Expect(a.bed.Client.Create(t.Context(), secret)).To(Succeed())
	from := []string{
		"--from-namespace", a.namespace, "--repository", "data", "--encryption-secret", "password", "--new-claim",
		"copy", "--size", "1Gi",
	}
	s, out, _ := a.restore(t, other, from...)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonRestoreNotAllowed))
	g.Expect(out).To(ContainSubstring(v1alpha1.AnnotationRestoreTo + "=" + other))
	_, err := kubectl(t, a.bed, "", "annotate", "repository/data", "-n", a.namespace,
		v1alpha1.AnnotationRestoreTo+"="+other)
	g.Expect(err).NotTo(HaveOccurred())
	s, _, _ = a.restore(t, other, from...)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonStorageNotAllowed), "the storage's owner must allow it, too")
	_, err = kubectl(t, a.bed, "", "patch", "backupstorage/s3", "-n", a.namespace, "--type=merge", "-p",
		`{"spec":{"usagePolicy":{"allowedNamespaces":{"from":"Selector","selector":{"matchLabels":{"kubernetes.io/metadata.name":"`+other+`"}}}}}}`)
	g.Expect(err).NotTo(HaveOccurred())
	s, _, err = a.restore(t, other, from...)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Status.Components["pvc"].Files).To(BeEquivalentTo(a.files + 2))
}

func (a *restoreApp) browse(t *testing.T) {
	g := NewWithT(t)
	cairn := func(args ...string) string {
		t.Helper()
		out, err := program(t, a.bed, "", "cairn",
			append([]string{"snapshot"}, append(args, "-n", a.namespace, "--endpoint", a.bed.S3.HostURL)...)...)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(out).NotTo(Or(ContainSubstring(a.bed.S3.SecretKey), ContainSubstring("canary-encryption-password")))
		return out
	}
	g.Expect(cairn("ls", a.one, "docs")).To(And(ContainSubstring("a.txt"), ContainSubstring("b.md")))
	g.Expect(strings.TrimSpace(cairn("cat", a.two, "docs/a.txt"))).To(Equal("second"))
	g.Expect(cairn("diff", a.one, a.two)).To(ContainSubstring("M docs/a.txt"))
	dir := filepath.Join(t.TempDir(), "download")
	cairn("download", a.one, dir, "--include", "*.md")
	g.Expect(os.ReadFile(filepath.Join(dir, "docs/b.md"))).To(BeEquivalentTo("first\n"))
}
