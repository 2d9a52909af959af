package hookexec

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	streaming "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// grabber keeps the connection that an upgrade takes over.
type grabber struct {
	http.ResponseWriter
	conn net.Conn
}

func (g *grabber) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := g.ResponseWriter.(http.Hijacker).Hijack()
	g.conn = conn
	return conn, buffer, err
}

// kubelet runs no command. It answers with a status, or cuts the connection if that is empty.
func kubelet(t *testing.T, status string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := httpstream.Handshake(r, w, []string{streaming.StreamProtocolV4Name}); err != nil {
			return
		}
		var mu sync.Mutex
		streams, complete := map[string]httpstream.Stream{}, make(chan struct{})
		g := &grabber{ResponseWriter: w}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(g, r, func(s httpstream.Stream, sent <-chan struct{}) error {
			mu.Lock()
			defer mu.Unlock()
			streams[s.Headers().Get(corev1.StreamType)] = s
			if len(streams) == 3 {
				go func() { <-sent; close(complete) }()
			}
			return nil
		})
		if conn == nil {
			return
		}
		<-complete
		if status == "" {
			_ = g.conn.Close()
			return
		}
		_, _ = io.WriteString(streams[corev1.StreamTypeError], status)
		for _, s := range streams {
			_ = s.Close()
		}
		<-conn.CloseChan()
	}))
	t.Cleanup(s.Close)
	return s
}

// A cut connection ends all streams, and so does the end of a command: only the status tells them apart.
func TestACommandWhoseConnectionWasCutFailed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status, want string
		cut          bool
	}{
		"it ended":          {status: `{"status": "Success"}`},
		"it was cut":        {want: "the connection was cut before the command ended", cut: true},
		"its status is cut": {status: `{"status": "Succ`, want: "error stream protocol error"},
		"it failed": {
			status: `{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [` +
				`{"reason": "ExitCode", "message": "3"}]}}`,
			want: "ended with exit code 3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			err := commandAt(t, kubelet(t, tt.status).URL)
			if tt.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tt.want)))
			g.Expect(cut(err)).To(Equal(tt.cut), "whether it can go on")
		})
	}
}

// A kubelet, or an API server for it, that makes no connection has begun no command.
func TestACommandWithoutAConnectionHasNotBegun(t *testing.T) {
	t.Parallel()
	answer := func(code int, text string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, text, code)
		}))
		t.Cleanup(s.Close)
		return s
	}
	closed := answer(200, "")
	closed.Close()
	for name, tt := range map[string]struct {
		server *httptest.Server
		want   bool
	}{
		"its container has ended": {answer(500, `unable to upgrade connection: container not found ("db")`), true},
		"its node is lost":        {answer(500, "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout"), true},
		"its pod is gone":         {answer(404, `pods "db-0" not found`), true},
		"no API server answers":   {closed, true},
		"it is not allowed":       {answer(403, `pods "db-0" is forbidden`), false},
		"it was cut":              {kubelet(t, ""), false},
		"it failed":               {kubelet(t, `{"status": "Failure", "message": "no such file"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			err := commandAt(t, tt.server.URL)
			g.Expect(err).To(HaveOccurred())
			g.Expect(unbegun(err)).To(Equal(tt.want), err.Error())
		})
	}
}

// A thaw in all pods does not fail because one of them, which terminated anyway, ended meanwhile.
func TestAFailureInAPodThatEndedMeanwhileDoesNotCount(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		phase corev1.PodPhase // "": it is gone
		want  bool
	}{
		"it is gone":  {"", false},
		"it is over":  {corev1.PodSucceeded, false},
		"it still is": {corev1.PodRunning, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if tt.phase == "" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				_ = json.NewEncoder(w).Encode(&corev1.Pod{
					TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
					ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: corev1.PodStatus{Phase: tt.phase},
				})
			}))
			t.Cleanup(s.Close)
			config := &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
			api, err := kubernetes.NewForConfig(config)
			g.Expect(err).NotTo(HaveOccurred())
			pods := []corev1.Pod{
				{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b", DeletionTimestamp: &metav1.Time{}}},
				{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}},
			}
			killed := &failure{message: "exit code 137"}
			err = inAll(t.Context(), api, pods, &v1alpha1.HookAction{}, func(p *corev1.Pod) error {
				if p.Name == "b" {
					return killed
				}
				return nil
			})
			g.Expect(err != nil).To(Equal(tt.want))
			err = inAll(t.Context(), api, pods[:1], &v1alpha1.HookAction{}, func(*corev1.Pod) error { return killed })
			g.Expect(err).To(MatchError("exit code 137"), "nothing succeeded")
		})
	}
}

// An attempt that began in one pod is not made again as if it had not.
func TestAnAttemptThatBeganInSomePodsHasBegun(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	pods := []corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}},
	}
	fails := func(some bool) error {
		return inAll(t.Context(), nil, pods, &v1alpha1.HookAction{}, func(p *corev1.Pod) error {
			if some && p.Name == "b" {
				return nil
			}
			return unreached("RequestFailed", "refused")
		})
	}
	g.Expect(unbegun(fails(false))).To(BeTrue())
	g.Expect(fails(true)).To(MatchError("refused"))
	g.Expect(unbegun(fails(true))).To(BeFalse())
}

func TestACommandThatCanGoOnCountsBeforeOneThatFailed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	failed, cut := &failure{message: "exit code 3"}, &failure{message: "cut", cut: true}
	g.Expect(worst([]error{nil, failed, cut})).To(Equal(error(cut)))
	g.Expect(worst([]error{nil, failed})).To(Equal(error(failed)))
	g.Expect(worst([]error{nil, nil})).To(Succeed())
}

// commandAt runs a command in a pod of this API server.
func commandAt(t *testing.T, url string) error {
	t.Helper()
	config := &rest.Config{Host: url}
	api, err := kubernetes.NewForConfig(config)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db-0"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "db"}}},
	}
	return command(t.Context(), config, api, pod, &v1alpha1.HookAction{
		Exec: &v1alpha1.HookExecAction{Command: []string{"thaw"}},
	})
}
