package hookexec_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var bed testbed.Bed

func TestMain(m *testing.M) {
	os.Exit(bed.Run(m))
}

// executor is allowed to connect to this machine, where the servers of the tests run.
func executor() *hookexec.Executor {
	return &hookexec.Executor{
		Client: bed.Client, APIReader: bed.Client, Config: bed.Config, Egress: egress.Anywhere(),
	}
}

// server records the requests that it receives.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	host  string
	port  intstr.IntOrString
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, fmt.Sprintf("%s %s %s %s %s", r.Method, r.URL, r.Header.Get("Content-Type"),
			r.Header.Get("Authorization"), body))
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	port, _ := strconv.Atoi(at.Port())
	s.host, s.port = at.Hostname(), intstr.FromInt(port)
	return s
}

func (s *server) get(path string) v1alpha1.HookHTTPGetAction {
	return v1alpha1.HookHTTPGetAction{Host: s.host, Port: s.port, Path: path}
}

func operator(action v1alpha1.HookAction, edit ...func(*v1alpha1.ResolvedHook)) hookstage.Run {
	h := &v1alpha1.ResolvedHook{
		Name: "h", Action: &action, Executor: v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator},
		Timeout: &metav1.Duration{Duration: time.Minute},
	}
	for _, e := range edit {
		e(h)
	}
	return hookstage.Run{
		Attempt: hookstage.Attempt{Stage: hookstage.Post, Name: "h", Number: 1}, Hook: h,
		Summary: hook.Summary{Name: "run", Target: hook.Object{Name: "db"}, Status: hook.Status{Phase: "Succeeded"}},
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestARequestSucceedsWithAStatusBelow300(t *testing.T) {
	for code, reason := range map[int]string{
		200: "", 204: "", 400: v1alpha1.ReasonRequestFailed, 503: v1alpha1.ReasonRequestFailed,
	} {
		g := NewWithT(t)
		s := serve(t, status(code))
		get := s.get("healthz?a=b")
		out := executor().Execute(t.Context(), "default", operator(v1alpha1.HookAction{HTTPGet: &get}))
		g.Expect(out.Reason).To(Equal(reason), "%d", code)
		g.Expect(s.asked).To(Equal([]string{"GET /healthz?a=b   "}))
		if reason != "" {
			g.Expect(out.Message).To(Equal(fmt.Sprintf(
				"GET 127.0.0.1:%s: the answer is %d %s", s.port.String(), code, http.StatusText(code))))
			g.Expect(out.Final).To(BeFalse())
		}
	}
}

func TestAPostHasABodyAFormAndSecrets(t *testing.T) {
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	g.Expect(bed.Client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "slack"}, StringData: map[string]string{
			"token": "geheim",
		},
	})).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "names"}, Data: map[string]string{"team": "storage"},
	})).To(Succeed())
	variables := func(h *v1alpha1.ResolvedHook) {
		h.Variables = []v1alpha1.HookVariable{
			{
				Name: "TOKEN",
				ValueFrom: &v1alpha1.HookVariableSource{
					SecretKeyRef: &v1alpha1.KeySelector{Name: "slack", Key: "token"},
				},
			},
			{
				Name: "TEAM",
				ValueFrom: &v1alpha1.HookVariableSource{
					ConfigMapKeyRef: &v1alpha1.KeySelector{Name: "names", Key: "team"},
				},
			},
		}
	}
	code := 200
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	post := &v1alpha1.HookHTTPPostAction{
		HookHTTPGetAction: s.get("/services/${TOKEN}"),
		Body:              `{"text": {{ printf "%s: %s" .Target.Name .Status.Phase | toJson }}, "team": "${TEAM}"}`,
	}
	post.HTTPHeaders = []v1alpha1.HookHTTPHeader{{Name: "Authorization", Value: "Bearer ${TOKEN}"}}
	out := executor().Execute(t.Context(), namespace, operator(v1alpha1.HookAction{HTTPPost: post}, variables))
	g.Expect(out).To(Equal(hookstage.Outcome{}))
	g.Expect(s.asked).To(Equal([]string{
		`POST /services/geheim application/json Bearer geheim {"text": "db: Succeeded", "team": "storage"}`,
	}))

	form := &v1alpha1.HookHTTPPostAction{HookHTTPGetAction: s.get("/"), Form: []v1alpha1.HookFormEntry{
		{Key: "a", Values: []string{"${TEAM}", "x&y"}},
	}}
	out = executor().Execute(t.Context(), namespace, operator(v1alpha1.HookAction{HTTPPost: form}, variables))
	g.Expect(out).To(Equal(hookstage.Outcome{}))
	g.Expect(s.asked[1]).To(Equal("POST / application/x-www-form-urlencoded  a=storage&a=x%26y"))

	code = 403
	out = executor().Execute(t.Context(), namespace, operator(v1alpha1.HookAction{HTTPPost: post}, variables))
	g.Expect(out.Message).To(ContainSubstring("the answer is 403 Forbidden"))
	g.Expect(out.Message).NotTo(ContainSubstring("geheim"))
	s.Close()
	out = executor().Execute(t.Context(), namespace, operator(v1alpha1.HookAction{HTTPPost: post}, variables))
	g.Expect(out.Reason).To(Equal(v1alpha1.ReasonRequestFailed))
	g.Expect(out.Message).To(ContainSubstring("connection refused"))
	g.Expect(out.Message).NotTo(ContainSubstring("geheim"), "errors of Go's client contain the path")
}

// A thaw waits for what it lacks: a Secret can be made again, for example by its operator.
func TestAMissingVariableIsNamed(t *testing.T) {
	namespace := bed.Namespace(t, nil)
	g := NewWithT(t)
	object := metav1.ObjectMeta{Namespace: namespace, Name: "empty"}
	g.Expect(bed.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: object})).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: object})).To(Succeed())
	secret := func(name string) *v1alpha1.HookVariableSource {
		return &v1alpha1.HookVariableSource{SecretKeyRef: &v1alpha1.KeySelector{Name: name, Key: "k"}}
	}
	configMap := func(name string) *v1alpha1.HookVariableSource {
		return &v1alpha1.HookVariableSource{ConfigMapKeyRef: &v1alpha1.KeySelector{Name: name, Key: "k"}}
	}
	for name, tt := range map[string]struct {
		from         *v1alpha1.HookVariableSource
		reason, says string
	}{
		"Secret":        {secret("s"), "SecretNotFound", "there is no Secret s, which the variable T names"},
		"key of Secret": {secret("empty"), "InvalidSecret", "Secret empty has no key k, which the variable T names"},
		"ConfigMap":     {configMap("c"), "InvalidHook", "there is no ConfigMap c, which the variable T names"},
		"key of ConfigMap": {
			configMap("empty"), "InvalidHook", "ConfigMap empty has no key k, which the variable T names",
		},
	} {
		for stage, waits := range map[hookstage.Stage]bool{hookstage.Pre: false, hookstage.Post: true} {
			t.Run(name+", "+string(stage), func(t *testing.T) {
				run := operator(v1alpha1.HookAction{
					TCPSocket: &v1alpha1.HookTCPSocketAction{Host: "127.0.0.1", Port: intstr.FromInt32(1)},
				}, func(h *v1alpha1.ResolvedHook) {
					h.Template = v1alpha1.ObjectReference{Namespace: namespace, Name: "deleted"}
					h.Variables = []v1alpha1.HookVariable{{Name: "T", ValueFrom: tt.from}}
				})
				run.Stage = stage
				NewWithT(t).Expect(executor().Execute(t.Context(), namespace, run)).To(Equal(hookstage.Outcome{
					Reason: tt.reason, Message: tt.says, Unbegun: waits,
				}))
			})
		}
	}
}

// TestAHookSendsNoSecretWithoutItsLabel takes the label from the Secret that a hook sends, after the run has begun.
func TestAHookSendsNoSecretWithoutItsLabel(t *testing.T) {
	home := bed.Namespace(t, nil)
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "policy"},
		Spec: v1alpha1.PolicySyncSpec{
			URL: "https://git.example.com/policy.git", Prune: true, Secrets: v1alpha1.SecretsLabelled,
		},
	})).To(Succeed())
	other := bed.Namespace(t, nil)
	run := &v1alpha1.BackupSession{Status: v1alpha1.BackupSessionStatus{Resolved: &v1alpha1.ResolvedBackup{
		Policy: v1alpha1.ResolvedPolicy{Source: "PolicySync/" + home + "/policy"},
	}}}
	for name, tt := range map[string]struct {
		namespace string
		executor  *hookexec.Executor
	}{
		"in the namespace of the PolicySync":                     {home, executor()},
		"in another one, into which that PolicySync puts policy": {other, executor().For(run)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: tt.namespace, Name: "token",
					Labels: map[string]string{v1alpha1.LabelPolicyMayUse: "true"},
				},
				StringData: map[string]string{"k": "v"},
			}
			g.Expect(bed.Client.Create(t.Context(), secret)).To(Succeed())
			s := serve(t, status(200))
			get := s.get("/")
			hook := operator(v1alpha1.HookAction{HTTPGet: &get}, func(h *v1alpha1.ResolvedHook) {
				h.Variables = []v1alpha1.HookVariable{{Name: "T", ValueFrom: &v1alpha1.HookVariableSource{
					SecretKeyRef: &v1alpha1.KeySelector{Name: "token", Key: "k"},
				}}}
			})
			g.Expect(tt.executor.Execute(t.Context(), tt.namespace, hook)).To(Equal(hookstage.Outcome{}))
			secret.Labels = nil
			g.Expect(bed.Client.Update(t.Context(), secret)).To(Succeed())
			out := tt.executor.Execute(t.Context(), tt.namespace, hook)
			g.Expect(out.Reason).To(Equal(v1alpha1.ReasonSecretNotLabelled))
			g.Expect(out.Message).To(ContainSubstring("run: kubectl label secret -n " + tt.namespace + " token "))
		})
	}
}

// Redirects are followed only on the same server, because the request can contain a secret.
func TestRedirectsStayOnTheServer(t *testing.T) {
	g := NewWithT(t)
	other := serve(t, status(500))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
		case "/far":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	})
	near, far := s.get("/near"), s.get("/far")
	out := executor().Execute(t.Context(), "default", operator(v1alpha1.HookAction{HTTPGet: &near}))
	g.Expect(out.Message).To(ContainSubstring("418"), "it was followed")
	out = executor().Execute(t.Context(), "default", operator(v1alpha1.HookAction{HTTPGet: &far}))
	g.Expect(out.Message).To(ContainSubstring("307"), "nobody did anything")
	g.Expect(other.asked).To(BeEmpty())
}

// A server that redirects has done nothing: it only says who would.
func TestARedirectIsNoAnswer(t *testing.T) {
	for code, followed := range map[int]bool{
		300: false, 301: false, 302: false, 303: false, 304: false, 307: true, 308: true,
	} {
		g := NewWithT(t)
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/here" {
				http.Redirect(w, r, "/there", code)
			}
		})
		post := &v1alpha1.HookHTTPPostAction{HookHTTPGetAction: s.get("/here"), Body: "{}"}
		out := executor().Execute(t.Context(), "default", operator(v1alpha1.HookAction{HTTPPost: post}))
		if followed {
			g.Expect(out).To(Equal(hookstage.Outcome{}), "%d", code)
			g.Expect(s.asked).To(Equal([]string{"POST /here application/json  {}", "POST /there application/json  {}"}))
			continue
		}
		g.Expect(out.Reason).To(Equal(v1alpha1.ReasonRequestFailed), "%d", code)
		g.Expect(out.Message).To(ContainSubstring(fmt.Sprintf("the answer is %d", code)))
		g.Expect(out.Message).To(ContainSubstring("307 or 308"), "what to do about it")
		g.Expect(s.asked).To(HaveLen(1), "a POST must not become a GET")
	}
	g := NewWithT(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+r.Host+"/", http.StatusMovedPermanently)
	})
	get := s.get("/")
	out := executor().Execute(t.Context(), "default", operator(v1alpha1.HookAction{HTTPGet: &get}))
	g.Expect(out.Message).To(ContainSubstring("the answer is 301"), "another scheme is another server")
}

func TestATCPHookConnects(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	port := listener.Addr().(*net.TCPAddr).Port
	action := v1alpha1.HookAction{
		TCPSocket: &v1alpha1.HookTCPSocketAction{Host: "localhost", Port: intstr.FromInt(port)},
	}
	g.Expect(executor().Execute(t.Context(), "default", operator(action))).To(Equal(hookstage.Outcome{}))
	g.Expect(listener.Close()).To(Succeed())
	out := executor().Execute(t.Context(), "default", operator(action))
	g.Expect(out.Reason).To(Equal(v1alpha1.ReasonRequestFailed))
	g.Expect(out.Message).To(HavePrefix(fmt.Sprintf("connect to localhost:%d: ", port)))
}

// A server that got a request can go on with it when the connection is cut, and freeze after the thaw.
func TestARequestThatNobodyAnsweredCanGoOn(t *testing.T) {
	closed := serve(t, status(200))
	closed.Close()
	for name, tt := range map[string]struct {
		server *server
		stage  hookstage.Stage
		want   bool
	}{
		"it was cut": {serve(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.Close()
		}), hookstage.Pre, true},
		"a gateway waited in vain": {serve(t, status(504)), hookstage.Pre, true},
		"a thaw does not wait":     {serve(t, status(504)), hookstage.Post, false},
		"the server refused it":    {serve(t, status(500)), hookstage.Pre, false},
		"no server got it":         {closed, hookstage.Pre, false},
	} {
		t.Run(name, func(t *testing.T) {
			g, get := NewWithT(t), tt.server.get("/")
			run := operator(v1alpha1.HookAction{HTTPGet: &get})
			run.Stage, run.Hook.Template = tt.stage, v1alpha1.ObjectReference{Namespace: "default", Name: "gone"}
			out := executor().Execute(t.Context(), "default", run)
			g.Expect(out.Reason).To(Equal(v1alpha1.ReasonRequestFailed))
			g.Expect(out.Lingers).To(Equal(tt.want), out.Message)
			if tt.want {
				g.Expect(out.Message).To(HaveSuffix(
					"; it could go on, so Cairn waited until its timeout of 1m0s had passed"))
			}
		})
	}
}

func TestTheManagersOwnMachineIsOutOfReach(t *testing.T) {
	g := NewWithT(t)
	s := serve(t, status(200))
	get := s.get("/")
	e := executor()
	e.Egress = nil
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1", "127.1.2.3"} {
		get.Host = host
		socket := v1alpha1.HookTCPSocketAction{Host: host, Port: get.Port}
		for name, action := range map[string]v1alpha1.HookAction{
			"httpGet":   {HTTPGet: &get},
			"httpPost":  {HTTPPost: &v1alpha1.HookHTTPPostAction{HookHTTPGetAction: get}},
			"tcpSocket": {TCPSocket: &socket},
		} {
			out := e.Execute(t.Context(), "default", operator(action))
			g.Expect(out.Message).To(And(ContainSubstring(host), ContainSubstring("Cairn does not connect there"),
				ContainSubstring("--egress-allow=")), name)
			g.Expect(out.Unbegun).To(BeFalse(), "it will be refused again")
		}
	}
	g.Expect(s.asked).To(BeEmpty())
}

// TestAHookShowsNothingOfAnotherServer tests that a hook can't be used to read what a server of the network says.
func TestAHookShowsNothingOfAnotherServer(t *testing.T) {
	g := NewWithT(t)
	for _, answer := range []string{
		"TOPSECRET-greeting\r\n", "HTTP/1.1 TOPSECRET\r\n\r\n", "HTTP/1.1 200 OK\r\nTOPSECRET\r\n\r\n",
		"HTTP/1.1 500 TOPSECRET\r\nContent-Length: 9\r\n\r\nTOPSECRET",
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte(answer))
				_ = conn.Close()
			}
		})
		get := s.get("/")
		out := executor().Execute(t.Context(), "default", operator(v1alpha1.HookAction{HTTPGet: &get}))
		g.Expect(out.Reason).To(Equal(v1alpha1.ReasonRequestFailed))
		g.Expect(out.Message).NotTo(ContainSubstring("TOPSECRET"))
	}
}

func TestATimeoutEndsAnAttempt(t *testing.T) {
	g := NewWithT(t)
	release := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	get := s.get("/")
	runner := hookexec.NewRunner(clock.RealClock{})
	hooks := &hookexec.Hooks{Runner: runner, Executor: executor()}
	owner := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "run", UID: "1"}}
	run := operator(v1alpha1.HookAction{HTTPGet: &get}, func(h *v1alpha1.ResolvedHook) {
		h.Timeout = &metav1.Duration{Duration: 200 * time.Millisecond}
	})
	newest := func(context.Context, client.Object) error { return nil }
	logged := make(chan string, 10)
	ctx := logf.IntoContext(t.Context(), funcr.New(func(_, line string) { logged <- line }, funcr.Options{}))
	g.Expect(hooks.CarryOut(ctx, owner, []hookstage.Run{run}, nil, newest)).To(Succeed())
	g.Eventually(runner.Ended()).WithTimeout(testbed.Patience).Should(Receive(HaveField("Object.GetName()", "run")))
	g.Expect(runner.Results("1")(run.Attempt)).To(Equal(&hookstage.Outcome{
		Reason: v1alpha1.ReasonHookTimeout, Message: "it did not end within 200ms",
	}))
	g.Expect(logged).To(Receive(ContainSubstring(`"msg"="runs hook" "hook"="h"`)))
	g.Expect(hooks.CarryOut(t.Context(), owner, []hookstage.Run{run}, nil,
		func(context.Context, client.Object) error { panic("a known attempt must not be made again") })).To(Succeed())
}

// makePod creates a pod that no kubelet knows.
func makePod(t *testing.T, namespace, name string, ready bool, edit ...func(*corev1.Pod)) {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "db"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{
				{Name: "db", Image: "db", Ports: []corev1.ContainerPort{{Name: "admin", ContainerPort: 80}}},
			},
		},
	}
	for _, e := range edit {
		e(p)
	}
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), p)).To(Succeed())
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "127.0.0.1"}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	g.Expect(bed.Client.Status().Update(t.Context(), p)).To(Succeed())
}
