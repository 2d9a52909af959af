package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var (
	bed    testbed.Bed
	binary string
)

func TestMain(m *testing.M) { os.Exit(withServer(m)) }

// withServer runs the tests with an API server and the program itself.
func withServer(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mover")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "mover")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-ldflags=-s -w", "-o", binary, ".").
		CombinedOutput(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err, string(out))
		return 1
	}
	return bed.Run(m, testbed.WithComputingTests(),
		testbed.WithManifests("config/admission/sidecar_policy.yaml", "config/rbac/sidecar_role.yaml",
			"config/rbac/user_roles.yaml"))
}

// workload is a workload with a repository in a directory, and its sidecars.
type workload struct {
	*WithT
	t         testing.TB
	namespace string
	id        string
	root      string
	// address is the address of the API server.
	address string
	task    task.Task
	log     *lines
}

// lines is the log of all sidecars.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
	out io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(b)
	return l.out.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

const (
	password = "correct horse"
	fileName = "name-of-a-users-file"
)

func newWorkload(t testing.TB) *workload {
	t.Helper()
	w := &workload{
		WithT: NewWithT(t), t: t, id: sidecar.Name(v1alpha1.KindDeployment, "web"), root: t.TempDir(),
		log: &lines{out: t.Output()},
	}
	address, err := url.Parse(bed.Config.Host)
	if err != nil || address.Host == "" {
		address, err = url.Parse("https://" + bed.Config.Host)
	}
	w.Expect(err).NotTo(HaveOccurred())
	w.address = address.Host
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.Expect(bed.Client.Create(t.Context(), ns)).To(Succeed())
	w.namespace = ns.Name
	name := metav1.ObjectMeta{Namespace: ns.Name, Name: v1alpha1.SidecarServiceAccount}
	w.Expect(bed.Client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: name})).To(Succeed())
	w.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: name, RoleRef: rbacv1.RoleRef{
			APIGroup: rbacv1.GroupName, Kind: "ClusterRole",
			Name: v1alpha1.SidecarServiceAccount,
		},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Namespace: ns.Name, Name: v1alpha1.SidecarServiceAccount},
		},
	})).To(Succeed())
	app := v1alpha1.TypedObjectReference{
		APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web", Namespace: ns.Name,
	}
	w.task = task.Task{
		Cluster: "cluster-1", Namespace: ns.Name,
		Storage: task.Storage{Namespace: ns.Name, Name: "disk", UID: "uid-storage", Spec: v1alpha1.Storage{
			Provider: v1alpha1.ProviderLocal, Local: &v1alpha1.LocalStorage{SubPath: "backups"},
		}},
		Repository: &task.Repository{
			Name: "web", UID: "uid-repository", Directory: "shop/web", Driver: v1alpha1.DriverKopia,
			AppRef: app,
		},
	}
	w.initialise()
	return w
}

// initialise creates the repository, as its Job would.
func (w *workload) initialise() {
	w.t.Helper()
	w.write("cairn/encryption/password", password)
	w.Expect(os.MkdirAll(filepath.Join(w.root, "cairn/storage"), 0o755)).To(Succeed())
	m := mover.Mover{
		Root: w.root, TerminationPath: "/nonexistent", Driver: kopia.Driver{}, Now: time.Now,
		Log: slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	for _, kind := range []task.Kind{task.KindInitStorage, task.KindInitRepository} {
		t := w.task
		t.Kind = kind
		text, err := task.Encode(t)
		w.Expect(err).NotTo(HaveOccurred())
		w.write("cairn/task/task.json", text)
		w.Expect(m.Run(w.t.Context(), kind, mover.Flags{})).To(BeZero())
	}
	w.task.Repository.MustExist = true
	w.Expect(os.RemoveAll(filepath.Join(w.root, "cairn/encryption"))).
		To(Succeed(), "a sidecar has nothing but its Secret")
}

func (w *workload) write(name, content string) {
	w.t.Helper()
	file := filepath.Join(w.root, name)
	w.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
	w.Expect(os.WriteFile(file, []byte(content), 0o644)).To(Succeed())
}

// keys puts the repository's keys into the Secret, as the kubelet brings them.
func (w *workload) keys(password, version string) {
	keys := sidecar.KeysOf(w.namespace, w.task.Repository.Name)
	w.write("cairn/sidecar/"+keys.Encryption("password"), password)
	w.write("cairn/sidecar/"+keys.Version(), version)
}

// token creates a token that is bound to the Secret of that name, and puts it into the sidecar's Secret. It returns
// the token's identity.
func (w *workload) token(secret string) string {
	w.t.Helper()
	bound := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: secret}}
	w.Expect(bed.Client.Create(w.t.Context(), bound)).To(Succeed())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Secret", APIVersion: "v1", Name: secret,
			UID: bound.UID,
		},
	}}
	account := &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: v1alpha1.SidecarServiceAccount},
	}
	w.Expect(bed.Client.SubResource("token").Create(w.t.Context(), account, request)).To(Succeed())
	w.write("cairn/sidecar/"+sidecar.KeyToken, request.Status.Token)
	w.write("cairn/sidecar/"+sidecar.KeyCA, string(bed.Config.CAData))
	got, err := sidecar.ReadToken(request.Status.Token)
	w.Expect(err).NotTo(HaveOccurred())
	return got.Credential
}

// start runs the sidecar of a pod. The returned function stops it with the signal.
func (w *workload) start(pod types.UID) (cmd *exec.Cmd, stop func(syscall.Signal)) {
	w.t.Helper()
	host, port, err := net.SplitHostPort(w.address)
	w.Expect(err).NotTo(HaveOccurred())
	cmd = exec.CommandContext(w.t.Context(), binary, sidecar.Subcommand, "--id="+w.id, "--root="+w.root)
	cmd.Stdout, cmd.Stderr = w.log, w.log
	cmd.Env = []string{
		"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port,
		sidecar.EnvPodNamespace + "=" + w.namespace, sidecar.EnvPodUID + "=" + string(pod), "HOME=" + w.root,
		"TMPDIR=" + w.root,
	}
	w.Expect(cmd.Start()).To(Succeed())
	var once sync.Once
	stop = func(s syscall.Signal) {
		once.Do(func() {
			_ = cmd.Process.Signal(s)
			_ = cmd.Wait()
		})
	}
	w.t.Cleanup(func() { stop(syscall.SIGKILL) })
	return cmd, stop
}

// annotations assign work to the pod's sidecar.
func (w *workload) annotations(t task.Task, version string, credential string, pod types.UID,
	components ...sidecar.Component,
) map[string]string {
	now := metav1.Now()
	text, err := sidecar.Encode(sidecar.Work{
		Task: t, Keys: sidecar.KeysOf(w.namespace, t.Repository.Name), KeysVersion: version,
		Assignments: []sidecar.Assignment{
			{Host: "target", Attempt: 1, Since: now, Given: &now, Pod: "web-x", PodUID: pod, Components: components},
		},
	})
	w.Expect(err).NotTo(HaveOccurred())
	movers := ""
	for _, c := range components {
		movers += c.Name + "=any,"
	}
	return map[string]string{
		v1alpha1.AnnotationSidecarTask: text, v1alpha1.AnnotationSidecarCredentials: credential,
		v1alpha1.AnnotationMovers: movers[:len(movers)-1],
	}
}

// backup asks the pod's sidecar for a backup of the volume data into a new Snapshot.
func (w *workload) backup(name, version, credential string, pod types.UID) *v1alpha1.Snapshot {
	w.t.Helper()
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01", Repository: "web", Session: "s", BackupSession: "b",
			Version: "v1", AppRef: w.task.Repository.AppRef,
		},
	}
	w.Expect(bed.Client.Create(w.t.Context(), s)).To(Succeed())
	t := w.task
	t.Kind, t.Snapshot = task.KindBackup, &task.Snapshot{Name: name, UID: s.UID, Spec: &s.Spec}
	before := s.DeepCopy()
	s.Labels = map[string]string{v1alpha1.LabelSidecar: w.id}
	s.Annotations = w.annotations(t, version, credential, pod,
		sidecar.Component{Component: task.Component{Name: "data"}, Volume: "data"})
	w.Expect(bed.Client.Patch(w.t.Context(), s, client.MergeFrom(before))).To(Succeed())
	return s
}

// component returns the state of the component of a Snapshot.
func (w *workload) component(s *v1alpha1.Snapshot) func() v1alpha1.Component {
	return func() v1alpha1.Component {
		w.Expect(bed.Client.Get(w.t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		return s.Status.Components["data"]
	}
}

func phase(p v1alpha1.SnapshotPhase) func(v1alpha1.Component) bool {
	return func(c v1alpha1.Component) bool { return c.Phase == p }
}

// eventually waits until the component reaches a phase.
func (w *workload) eventually(s *v1alpha1.Snapshot, p v1alpha1.SnapshotPhase, why string) v1alpha1.Component {
	w.t.Helper()
	w.Eventually(w.component(s)).WithTimeout(testbed.Patience).WithPolling(50*time.Millisecond).
		Should(Satisfy(phase(p)), why)
	return s.Status.Components["data"]
}

// change patches the assignment of a Snapshot.
func (w *workload) change(s *v1alpha1.Snapshot, edit func(*sidecar.Work)) {
	w.t.Helper()
	w.Expect(bed.Client.Get(w.t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	work, err := sidecar.Decode(s.Annotations[v1alpha1.AnnotationSidecarTask])
	w.Expect(err).NotTo(HaveOccurred())
	edit(&work)
	before := s.DeepCopy()
	s.Annotations[v1alpha1.AnnotationSidecarTask], err = sidecar.Encode(work)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(bed.Client.Patch(w.t.Context(), s, client.MergeFrom(before))).To(Succeed())
}

// changeRestore patches the assignment of a RestoreSession.
func (w *workload) changeRestore(r *v1alpha1.RestoreSession, edit func(*sidecar.Work)) {
	w.t.Helper()
	w.Expect(bed.Client.Get(w.t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
	work, err := sidecar.Decode(r.Annotations[v1alpha1.AnnotationSidecarTask])
	w.Expect(err).NotTo(HaveOccurred())
	edit(&work)
	before := r.DeepCopy()
	r.Annotations[v1alpha1.AnnotationSidecarTask], err = sidecar.Encode(work)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(bed.Client.Patch(w.t.Context(), r, client.MergeFrom(before))).To(Succeed())
}

// endless puts a sparse file into the volume that takes minutes to read.
func (w *workload) endless() {
	w.write("cairn/volumes/data/"+fileName, "")
	w.Expect(os.Truncate(filepath.Join(w.root, "cairn/volumes/data", fileName), 1<<40)).To(Succeed())
}

// discreet verifies that the log contains no credential and no name of a file.
func (w *workload) discreet() {
	w.t.Helper()
	token, err := os.ReadFile(filepath.Join(w.root, "cairn/sidecar", sidecar.KeyToken))
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(w.log.String()).NotTo(ContainSubstring(string(token)))
	w.Expect(w.log.String()).NotTo(ContainSubstring(password))
	w.Expect(w.log.String()).NotTo(ContainSubstring(fileName))
}

func TestASidecarBacksUpAndRestores(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	w.write("cairn/volumes/data/"+fileName, "text of the file")
	w.start("pod-a")
	w.start("pod-b")
	s := w.backup("snap-1", "v1", credential, "pod-b")
	done := w.eventually(s, v1alpha1.SnapshotSucceeded, "the sidecar of the pod backs up")
	w.Expect(done.ID).NotTo(BeEmpty())
	w.Expect(done.Files).To(BeEquivalentTo(1))
	w.Expect(bytes.Count([]byte(w.log.String()), []byte(`"msg":"begin"`))).
		To(Equal(1), "only the sidecar that was asked works")

	r := w.restore("bring-back", s, done.ID, credential, "pod-a")
	w.restored(r, v1alpha1.RestoreSessionSucceeded, "the other sidecar restores")
	text, err := os.ReadFile(filepath.Join(w.root, "cairn/restore/data", fileName))
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(string(text)).To(Equal("text of the file"))
	w.discreet()
}

// restore asks the pod's sidecar to restore a Snapshot into the volume data.
func (w *workload) restore(name string, s *v1alpha1.Snapshot, id, credential string,
	pod types.UID,
) *v1alpha1.RestoreSession {
	w.t.Helper()
	r := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelSidecar: w.id},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &w.task.Repository.AppRef,
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: s.Name},
		},
	}
	w.Expect(os.MkdirAll(filepath.Join(w.root, "cairn/restore/data"), 0o755)).To(Succeed())
	back := w.task
	back.Kind, back.Snapshot, back.RestoreSession = task.KindRestore, &task.Snapshot{Name: s.Name, UID: s.UID},
		&task.Object{Name: r.Name}
	w.Expect(bed.Client.Create(w.t.Context(), r)).To(Succeed())
	back.RestoreSession.UID = r.UID
	w.running(r, s, id)
	before := r.DeepCopy()
	r.Annotations = w.annotations(back, "v1", credential, pod,
		sidecar.Component{Component: task.Component{Name: "data", ID: id}, Volume: "data"})
	w.Expect(bed.Client.Patch(w.t.Context(), r, client.MergeFrom(before))).To(Succeed())
	return r
}

// restored waits until the component of a restore reaches a phase.
func (w *workload) restored(r *v1alpha1.RestoreSession, phase v1alpha1.RestoreSessionPhase,
	why string,
) v1alpha1.RestoredComponent {
	w.t.Helper()
	w.Eventually(func() v1alpha1.RestoreSessionPhase {
		w.Expect(bed.Client.Get(w.t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
		return r.Status.Components["data"].Phase
	}).WithTimeout(testbed.Patience).WithPolling(5*time.Millisecond).Should(Equal(phase), why)
	return r.Status.Components["data"]
}

// big makes a Snapshot that takes a while to restore. It returns it with its component and the content of its file.
func (w *workload) big(credential string) (s *v1alpha1.Snapshot, id string, content []byte) {
	w.t.Helper()
	content = make([]byte, 192<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	w.write("cairn/volumes/data/"+fileName, string(content))
	_, stop := w.start("pod-a")
	s = w.backup("snap-big", "v1", credential, "pod-a")
	id = w.eventually(s, v1alpha1.SnapshotSucceeded, "there is something to restore").ID
	stop(syscall.SIGTERM)
	return s, id, content
}

func TestASidecarThatIsKilledRestoresOn(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	s, id, content := w.big(credential)
	_, stop := w.start("pod-a")
	r := w.restore("bring-back", s, id, credential, "pod-a")
	w.restored(r, v1alpha1.RestoreSessionRunning, "it works")
	stop(syscall.SIGKILL)
	c := w.restored(r, v1alpha1.RestoreSessionRunning, "it was killed in the middle")
	w.Expect(c.TargetWritten).To(BeTrue())
	w.write("cairn/restore/data/half-written", "as a restore that was killed leaves it")
	_, stop = w.start("pod-a")
	w.restored(r, v1alpha1.RestoreSessionSucceeded,
		"the container was started again, and knows that the volume was empty")
	got, err := os.ReadFile(filepath.Join(w.root, "cairn/restore/data", fileName))
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(bytes.Equal(got, content)).To(BeTrue(), "all of it is there")
	stop(syscall.SIGTERM)

	other := w.restore("once-more", s, id, credential, "pod-a")
	_, stop = w.start("pod-a")
	c = w.restored(other, v1alpha1.RestoreSessionFailed, "a volume that holds data is left alone")
	w.Expect(c.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty))
	stop(syscall.SIGTERM)
	w.discreet()
}

func TestARestoreOfASidecarIsStoppedOrGoesOnElsewhere(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	s, id, _ := w.big(credential)
	volume := filepath.Join(w.root, "cairn/restore/data")
	r := w.restore("stopped", s, id, credential, "pod-a")
	_, stop := w.start("pod-a")
	w.restored(r, v1alpha1.RestoreSessionRunning, "it works")
	w.changeRestore(r, func(work *sidecar.Work) { work.Assignments[0].Stop = true })
	c := w.restored(r, v1alpha1.RestoreSessionFailed, "it says that it stopped")
	w.Expect(c.Reason).To(Equal(v1alpha1.ReasonCancelled))
	left, err := os.ReadDir(volume)
	w.Expect(err).NotTo(HaveOccurred())
	named := slices.ContainsFunc(left, func(e os.DirEntry) bool { return !repository.IsOfARestore(e.Name()) })
	w.Expect(c.TargetWritten).To(Equal(named), "a file gets its name when it is whole: %v", left)
	w.Expect(os.RemoveAll(volume)).To(Succeed())

	r = w.restore("pod-goes", s, id, credential, "pod-a")
	w.restored(r, v1alpha1.RestoreSessionRunning, "it works")
	stop(syscall.SIGTERM)
	w.restored(r, v1alpha1.RestoreSessionRunning, "the pod is going: another one may do it")
	w.Expect(w.log.String()).
		To(ContainSubstring(`"msg":"interrupted","resource":"restoresessions","object":"pod-goes"`))
	w.discreet()
}

func TestASidecarTakesRotatedTokensAndKeys(t *testing.T) {
	w := newWorkload(t)
	w.keys("not the password", "v1")
	old := w.token("first")
	w.write("cairn/volumes/data/"+fileName, "text")
	w.start("pod-a")
	s := w.backup("snap-1", "v2", old, "pod-a")
	w.Eventually(w.log.String).WithTimeout(testbed.Patience).Should(ContainSubstring(`"msg":"waiting for keys"`),
		"the Secret is older than the assignment")
	w.Expect(w.component(s)().Phase.Terminal()).To(BeFalse())
	w.keys(password, "v2")
	w.eventually(s, v1alpha1.SnapshotSucceeded, "the keys that are needed have come")

	fresh := w.token("second")
	w.Expect(
		bed.Client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace,
			Name:      "first",
		}})).
		To(Succeed())
	s = w.backup("snap-2", "v2", fresh, "pod-a")
	w.eventually(s, v1alpha1.SnapshotSucceeded, "the old token is worth nothing, and the new one is taken")
	w.discreet()
}

func TestASidecarThatIsKilledGoesOn(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	w.endless()
	_, stop := w.start("pod-a")
	s := w.backup("snap-1", "v1", credential, "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	stop(syscall.SIGKILL)
	w.write("cairn/volumes/data/"+fileName, "short")
	_, stop = w.start("pod-a")
	w.eventually(s, v1alpha1.SnapshotSucceeded, "the container was started again")
	stop(syscall.SIGTERM)

	w.endless()
	s = w.backup("snap-2", "v1", credential, "pod-a")
	_, stop = w.start("pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	stop(syscall.SIGTERM)
	w.Expect(w.component(s)().Phase).To(Equal(v1alpha1.SnapshotRunning), "the pod is going: another pod can do it")
	w.Expect(w.log.String()).
		To(
			ContainSubstring(
				`"msg":"interrupted","resource":"snapshots","object":"snap-2","host":"target",` +
					`"attempt":1,"reason":"Cancelled"`))
	w.discreet()
}

func TestAnAssignmentIsStoppedAndWithdrawn(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	w.endless()
	w.start("pod-a")
	s := w.backup("snap-1", "v1", credential, "pod-a")
	w.eventually(s, v1alpha1.SnapshotRunning, "it works")
	// A sidecar that lists several at its start takes them in any order.
	next := w.backup("snap-2", "v1", credential, "pod-a")
	last := w.backup("snap-3", "v1", credential, "pod-a")
	w.change(s, func(work *sidecar.Work) { work.Assignments[0].Stop = true })
	c := w.eventually(s, v1alpha1.SnapshotFailed, "it says that it stopped")
	w.Expect(c.Reason).To(Equal(v1alpha1.ReasonCancelled))

	w.eventually(next, v1alpha1.SnapshotRunning, "one after the other")
	w.Expect(w.component(last)().Phase).To(BeEmpty())
	w.change(last, func(work *sidecar.Work) { work.Assignments[0].Stop = true })
	w.change(next, func(work *sidecar.Work) { work.Assignments = nil })
	w.eventually(last, v1alpha1.SnapshotFailed, "what was never begun is stopped, too")
	w.Expect(w.component(next)().Phase).To(Equal(v1alpha1.SnapshotRunning), "it does not report on withdrawn work")
	w.discreet()
}

func TestASidecarWritesItsOwnWorkloadsSnapshotsOnly(t *testing.T) {
	w := newWorkload(t)
	own, other := w.token("own"), w.token("other")
	mine := w.backup("mine", "", own, "pod-a")
	theirs := w.backup("theirs", "", other, "pod-a")
	text, err := os.ReadFile(filepath.Join(w.root, "cairn/sidecar", sidecar.KeyToken))
	w.Expect(err).NotTo(HaveOccurred())
	as := rest.AnonymousClientConfig(bed.Config)
	as.BearerToken = string(text) // of the other one
	c, err := client.New(as, client.Options{Scheme: bed.Client.Scheme()})
	w.Expect(err).NotTo(HaveOccurred())
	patch := func(s *v1alpha1.Snapshot, status map[string]any) error {
		body, err := json.Marshal(map[string]any{"status": status})
		w.Expect(err).NotTo(HaveOccurred())
		return c.Status().Patch(t.Context(), s.DeepCopy(), client.RawPatch(types.MergePatchType, body))
	}
	component := func(name string, phase string) map[string]any {
		return map[string]any{"components": map[string]any{name: map[string]any{"phase": phase}}}
	}
	tries := 0
	w.Eventually(func() error {
		tries++
		return patch(mine,
			map[string]any{"components": map[string]any{"data": map[string]any{"size": fmt.Sprint(tries)}}})
	}).WithTimeout(testbed.Patience).Should(MatchError(ContainSubstring("has no work in mine")),
		"the policy is in force a moment after it was made")
	w.Eventually(func() error { return patch(theirs, component("data", "Running")) }).WithTimeout(testbed.Patience).
		Should(Succeed(), "so is the RoleBinding")
	for _, status := range []map[string]any{
		component("logs", "Succeeded"),
		{"phase": "Succeeded"},
		{"totalComponents": 9},
		{"components": nil},
		{"observedGeneration": 7},
		{
			"conditions": []any{map[string]any{
				"type": "Ready", "status": "True", "reason": "R", "message": "",
				"lastTransitionTime": "2026-01-01T00:00:00Z",
			}},
		},
	} {
		w.Expect(patch(theirs, status)).To(MatchError(ContainSubstring("own components")), "%v", status)
	}
	before := theirs.DeepCopy()
	theirs.Annotations[v1alpha1.AnnotationSidecarCredentials] = other + "," + own
	w.Expect(c.Patch(t.Context(), theirs, client.MergeFrom(before))).
		To(MatchError(ContainSubstring("cannot patch resource")))
	w.Expect(c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(w.namespace))).
		To(MatchError(ContainSubstring("cannot list resource")))
	w.Expect(c.List(t.Context(), &v1alpha1.SnapshotList{}, client.InNamespace("default"))).
		To(MatchError(ContainSubstring("cannot list resource")))
}

// idleBar is the most memory that a sidecar without work is allowed to use, in MiB: every pod of the workload pays
// for it all day.
const idleBar = 25

func TestAnIdleSidecarIsSmall(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	w.write("cairn/volumes/data/"+fileName, "text")
	cmd, _ := w.start("pod-a")
	w.Eventually(w.log.String).WithTimeout(testbed.Patience).Should(ContainSubstring(`"msg":"waiting for work"`))
	resident := func() float64 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		w.Expect(err).NotTo(HaveOccurred())
		for line := range strings.Lines(string(b)) {
			if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, err := strconv.Atoi(strings.Fields(kib)[0])
				w.Expect(err).NotTo(HaveOccurred())
				return float64(n) / 1024
			}
		}
		t.Fatal("the process tells nothing of its memory")
		return 0
	}
	w.Eventually(resident).WithTimeout(testbed.Patience).
		Should(BeNumerically("<=", idleBar), "the memory of the start is returned")
	first := resident()
	w.eventually(w.backup("snap-1", "v1", credential, "pod-a"), v1alpha1.SnapshotSucceeded, "it works")
	w.Eventually(resident).WithTimeout(testbed.Patience).
		Should(BeNumerically("<=", idleBar), "the memory of a backup is returned")
	t.Logf("resident memory of an idle sidecar: %.1f MiB before its first backup, %.1f MiB after it; bar %d MiB", first,
		resident(), idleBar)
}
