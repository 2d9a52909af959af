package policysync

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/gittestserver"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

var (
	bed    testbed.Bed
	scheme = testbed.Scheme()
)

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m, testbed.WithManifests("config/rbac/manager_role.yaml")))
}

// counter counts requests by method. Dry runs count as "DRY".
type counter struct {
	mu    sync.Mutex
	count map[string]int
	// refuse fails the requests for which it returns true, as if the manager were killed.
	refuse func(*http.Request) bool
	// around does what it wants with each request.
	around func(*http.Request, http.RoundTripper) (*http.Response, error)
}

// roundTripper turns a function into an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// wrap counts what goes through next; each client has its own.
func (c *counter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return c.roundTrip(r, next) })
}

func (c *counter) roundTrip(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	method := r.Method
	if r.URL.Query().Get("dryRun") != "" {
		method = "DRY"
	}
	c.mu.Lock()
	c.count[method]++
	refuse, around := c.refuse, c.around
	c.mu.Unlock()
	if around != nil {
		return around(r, next)
	}
	if refuse != nil && refuse(r) {
		return nil, fmt.Errorf("connection lost")
	}
	return next.RoundTrip(r)
}

func (c *counter) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[http.MethodPatch] + c.count[http.MethodPost] + c.count[http.MethodPut] + c.count[http.MethodDelete]
}

// slowness is how long a slow Git server takes, by the clock of the test.
const slowness = 10 * time.Second

// testNamespace is a namespace with a PolicySync, its repository and a reconciler of its own.
type testNamespace struct {
	*Reconciler
	t         testing.TB
	g         *WithT
	namespace string
	sync      *v1alpha1.PolicySync
	work      string // clone of the repository
	gitCalls  atomic.Int64
	down      atomic.Bool // the Git server answers 503
	slow      atomic.Bool // each answer of the Git server takes as long as slowness
	api       *counter
	clock     *testclock.FakeClock
	events    *record.FakeRecorder
	server    *gittestserver.GitServer
}

func newRoom(t testing.TB, change ...func(*v1alpha1.PolicySync)) *testNamespace {
	t.Helper()
	if test, ok := t.(*testing.T); ok { // rooms share only the API server
		test.Parallel()
	}
	r := &testNamespace{
		t: t, g: NewWithT(t), clock: testclock.NewFakeClock(time.Now()), events: record.NewFakeRecorder(100),
	}
	r.startGit()
	r.namespace = bed.Namespace(t, nil)

	r.api = &counter{count: map[string]int{}}
	counted := rest.CopyConfig(bed.Config)
	counted.Wrap(r.api.wrap)
	c, err := client.NewWithWatch(counted, client.Options{Scheme: scheme, Mapper: bed.Client.RESTMapper()})
	r.g.Expect(err).NotTo(HaveOccurred())
	r.Reconciler = &Reconciler{
		Client: c, APIReader: c, Scheme: scheme, EventRecorder: r.events, Clock: r.clock, RESTConfig: counted,
		WorkDir: t.TempDir(), Egress: egress.Anywhere(),
		Jitter: func(d time.Duration) time.Duration { return d },
	}
	r.sync = &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Name: "policy", Namespace: r.namespace},
		Spec: v1alpha1.PolicySyncSpec{
			URL: r.server.HTTPAddress() + "/policy.git", Path: "./policy", Prune: true,
			Interval: metav1.Duration{Duration: time.Minute},
		},
	}
	for _, f := range change {
		f(r.sync)
	}
	r.g.Expect(c.Create(t.Context(), r.sync)).To(Succeed())
	return r
}

func (r *testNamespace) startGit() {
	server, err := gittestserver.NewTempGitServer()
	r.g.Expect(err).NotTo(HaveOccurred())
	r.server = server
	server.AutoCreate().AddHTTPMiddlewares(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r.gitCalls.Add(1)
			if r.down.Load() {
				http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
				return
			}
			if r.slow.Load() {
				r.clock.Step(slowness)
			}
			next.ServeHTTP(w, req)
		})
	})
	r.g.Expect(server.StartHTTP()).To(Succeed())
	r.t.Cleanup(func() {
		server.StopHTTP()
		_ = os.RemoveAll(server.Root())
	})
	r.work = r.t.TempDir()
	bare := filepath.Join(server.Root(), "policy.git")
	r.git("init", "-q", "--bare", "-b", "main", bare)
	r.git("init", "-q", "-b", "main")
	r.git("remote", "add", "origin", bare)
}

func (r *testNamespace) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.work
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a",
		"GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	r.g.Expect(err).NotTo(HaveOccurred(), "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// push makes the repository hold exactly these files and returns the revision.
func (r *testNamespace) push(files map[string]string) string {
	r.t.Helper()
	r.commit(files)
	return r.pushHead()
}

// pushHead makes main of the repository the commit of the work tree and returns the revision.
func (r *testNamespace) pushHead() string {
	r.t.Helper()
	r.git("push", "-q", "-f", "origin", "HEAD:refs/heads/main")
	return "main@sha1:" + r.git("rev-parse", "HEAD")
}

// commit makes the work tree hold exactly these files and commits it.
func (r *testNamespace) commit(files map[string]string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.work)
	r.g.Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		if e.Name() != ".git" {
			r.g.Expect(os.RemoveAll(filepath.Join(r.work, e.Name()))).To(Succeed())
		}
	}
	for name, content := range files {
		name = filepath.Join(r.work, name)
		r.g.Expect(os.MkdirAll(filepath.Dir(name), 0o755)).To(Succeed())
		r.g.Expect(os.WriteFile(name, []byte(content), 0o644)).To(Succeed())
	}
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", "change")
}

// reconcile runs once and reads the result.
func (r *testNamespace) reconcile() ctrl.Result {
	r.t.Helper()
	result, err := r.Reconcile(r.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)})
	r.g.Expect(err).NotTo(HaveOccurred())
	if err := r.Get(r.t.Context(), client.ObjectKeyFromObject(r.sync), r.sync); !apierrors.IsNotFound(err) {
		r.g.Expect(err).NotTo(HaveOccurred())
	}
	return result
}

// reconcileLogged is like reconcile, and returns the lines with these messages, also those at V(1).
func (r *testNamespace) reconcileLogged(messages ...string) []string {
	r.t.Helper()
	ctx, lines := loglines.Record(r.t.Context(), 1, messages...)
	_, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(r.sync)})
	r.g.Expect(err).NotTo(HaveOccurred())
	r.g.Expect(r.Get(r.t.Context(), client.ObjectKeyFromObject(r.sync), r.sync)).To(Succeed())
	return *lines
}

func (r *testNamespace) update(change func(*v1alpha1.PolicySync)) {
	r.t.Helper()
	r.g.Expect(r.Get(r.t.Context(), client.ObjectKeyFromObject(r.sync), r.sync)).To(Succeed())
	change(r.sync)
	r.g.Expect(r.Update(r.t.Context(), r.sync)).To(Succeed())
}

func (r *testNamespace) exists(obj client.Object, name string) bool {
	r.t.Helper()
	err := r.Get(r.t.Context(), types.NamespacedName{Namespace: r.namespace, Name: name}, obj)
	r.g.Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil
}

func (r *testNamespace) emitted() []string {
	var out []string
	for {
		select {
		case e := <-r.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func storage(name string) string {
	return "apiVersion: backup.cairn.dev/v1alpha1\nkind: BackupStorage\nmetadata: {name: " + name +
		"}\nspec: {storage: {provider: local, local: {persistentVolumeClaim: {claimName: backups}}}}\n"
}

func configuration(name, schedule string) string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: ` + name + `}
spec:
  target: {kind: PersistentVolumeClaim, name: ` + name + `}
  backends: [{name: main, storageRef: {name: local}}]
  sessions:
  - name: nightly
    scheduler: {schedule: "` + schedule + `"}
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories: [{name: ` + name + `, backend: main, directory: /` + name + `, encryptionSecret: {name: enc}}]
`
}
