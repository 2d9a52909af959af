package sessiontest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/hook/execute"
)

// process is what a manager of a world remembers: a killed one nothing.
type process struct {
	killer *Killer
	hooks  *execute.Hooks
}

var (
	processesMu sync.Mutex
	processes   = map[*World]process{}
)

// Hooks makes the attempts of a world's reconciler. They may connect to this machine.
func Hooks(w *World, config *rest.Config) *execute.Hooks {
	processesMu.Lock()
	defer processesMu.Unlock()
	p, ok := processes[w]
	if !ok || p.killer != w.Killer {
		if ok {
			gone, cancel := context.WithCancel(context.Background())
			cancel()
			_ = p.hooks.Start(gone)
		}
		p = process{w.Killer, &execute.Hooks{Runner: execute.NewRunner(), Executor: &execute.Executor{
			Client: w.Killer.Client(w.Client), APIReader: w.Client, Config: config, Refuse: func(netip.Addr) error { return nil },
		}}}
		processes[w] = p
	}
	return p.hooks
}

// Listener is a server that hooks talk to.
type Listener struct {
	server *httptest.Server
	mu     sync.Mutex
	heard  []string
	// Answer to a path. Nil, and the status 0, are 200.
	Answer func(path string) int
}

// Refuse is the Answer of a Listener that refuses what comes to one path with a status.
func Refuse(path string, status int) func(path string) int {
	return func(asked string) int {
		if asked == path {
			return status
		}
		return http.StatusOK
	}
}

// Listen starts a Listener for the length of a test.
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

// Note adds to what was heard.
func (l *Listener) Note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, what)
}

// Heard is what was heard so far: "<path> <body>" of each request, in order.
func (l *Listener) Heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard)
}

// Template is a HookTemplate that posts body to the path that has its name.
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
				HookHTTPGetAction: v1alpha1.HookHTTPGetAction{Host: at.Hostname(), Port: intstr.FromInt(port), Path: "/" + name}, Body: body,
			}},
			Executor: &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator},
		},
	}
}

// Use is the use of a HookTemplate of the same namespace.
func Use(name string, edit ...func(*v1alpha1.HookInfo)) v1alpha1.HookInfo {
	h := v1alpha1.HookInfo{Name: name, HookTemplate: &v1alpha1.ObjectReference{Name: name}}
	for _, e := range edit {
		e(&h)
	}
	return h
}
