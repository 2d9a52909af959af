package sessiontest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// process is what a manager of a World remembers. A killed manager remembers nothing.
type process struct {
	killer *Killer
	hooks  *hookexec.Hooks
}

var (
	processesMu sync.Mutex
	processes   = map[*World]process{}
)

// Hooks returns the hooks of a World's reconciler. They are allowed to connect to this machine. After a kill they start
// anew.
func Hooks(w *World, config *rest.Config) *hookexec.Hooks {
	processesMu.Lock()
	defer processesMu.Unlock()
	p, ok := processes[w]
	if !ok || p.killer != w.Killer {
		if ok {
			gone, cancel := context.WithCancel(context.Background())
			cancel()
			_ = p.hooks.Start(gone)
		}
		p = process{w.Killer, &hookexec.Hooks{Runner: hookexec.NewRunner(w.Clock), Executor: &hookexec.Executor{
			Client: w.Killer.Client(w.Client), APIReader: w.Client, Config: config, Egress: egress.Anywhere(),
		}}}
		processes[w] = p
	}
	return p.hooks
}

// Listener is a server to which hooks send requests.
type Listener struct {
	server *httptest.Server
	mu     sync.Mutex
	heard  []string
	// Answer returns the status for a path. A nil Answer and the status 0 mean 200.
	Answer func(path string) int
}

// Refuse returns an Answer that answers one path with status.
func Refuse(path string, status int) func(path string) int {
	return func(asked string) int {
		if asked == path {
			return status
		}
		return http.StatusOK
	}
}

// Listen starts a Listener for the duration of a test.
func Listen(t testing.TB) *Listener {
	t.Helper()
	l := &Listener{}
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.Note(strings.TrimSpace(strings.TrimPrefix(r.URL.Path, "/") + " " + string(body)))
		if l.Answer != nil {
			if status := l.Answer(r.URL.Path); status != 0 {
				w.WriteHeader(status)
			}
		}
	}))
	t.Cleanup(l.server.Close)
	return l
}

// Note adds an entry to what was heard.
func (l *Listener) Note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, what)
}

// Heard returns everything heard so far, in order: "<path> <body>" for each request.
func (l *Listener) Heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard)
}

// Template returns a HookTemplate that posts body to the path with its own name.
func (l *Listener) Template(namespace, name, body string) *v1alpha1.HookTemplate {
	at, err := url.Parse(l.server.URL)
	if err != nil {
		panic(fmt.Sprintf("address of a test server: %v", err))
	}
	port, _ := strconv.Atoi(at.Port())
	return &v1alpha1.HookTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.HookTemplateSpec{
			Action: &v1alpha1.HookAction{HTTPPost: &v1alpha1.HookHTTPPostAction{
				HookHTTPGetAction: v1alpha1.HookHTTPGetAction{
					Host: at.Hostname(), Port: intstr.FromInt(port),
					Path: "/" + name,
				}, Body: body,
			}},
			Executor: &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator},
		},
	}
}

// UseTemplate returns a HookInfo that uses a HookTemplate of the same namespace.
func UseTemplate(name string, edit ...func(*v1alpha1.HookInfo)) v1alpha1.HookInfo {
	h := v1alpha1.HookInfo{Name: name, HookTemplate: &v1alpha1.ObjectReference{Name: name}}
	for _, e := range edit {
		e(&h)
	}
	return h
}

// RestoreHooks creates HookTemplates and returns hooks around a restore that report to l: "stop" before it, "start"
// after it, and "tell" after a failure. l hears "restore" from each mover, too.
func (w *World) RestoreHooks(l *Listener) *v1alpha1.RestoreHooks {
	w.T.Helper()
	for _, template := range []string{"stop", "start", "tell"} {
		Create(w.T, w.Client, l.Template(w.Namespace, template, "{{.Name}} {{.Status.Phase}}"))
	}
	outcome := w.Outcome
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		l.Note("restore")
		return outcome(job)
	}
	return &v1alpha1.RestoreHooks{
		PreRestore: []v1alpha1.HookInfo{UseTemplate("stop")},
		PostRestore: []v1alpha1.HookInfo{
			UseTemplate("start"),
			UseTemplate("tell", func(h *v1alpha1.HookInfo) { h.ExecutionPolicy = v1alpha1.HookOnFailure }),
		},
	}
}
