package hookexec

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/httpstream"
	streaming "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// network answers after a time, even if nobody awaits that any more, and counts the connections that are closed.
type network struct {
	httpstream.Connection
	takes  time.Duration
	closed int
}

func (n *network) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(n.takes)
	return &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: http.NoBody}, nil
}

func (n *network) NewConnection(*http.Response) (httpstream.Connection, error) { return n, nil }

func (n *network) Close() error { n.closed++; return nil }

// A node that is lost takes the time of a hook only up to a limit. A connection that comes too late begins no command.
func TestAConnectionIsAwaitedForALimitedTime(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, tt := range map[string]struct {
		takes, limit, hook, want time.Duration
		fails                    string
	}{
		"in time":                  {takes: 9 * s, limit: reach, hook: time.Minute, want: 9 * s},
		"late":                     {takes: 30 * s, limit: reach, hook: time.Minute, want: reach, fails: "within 10s"},
		"late, without limit":      {takes: 30 * s, hook: time.Minute, want: 30 * s},
		"later than the hook":      {takes: 30 * s, hook: 20 * s, want: 20 * s, fails: "deadline exceeded"},
		"it has little time":       {takes: 30 * s, limit: reach, hook: s, want: s, fails: "deadline exceeded"},
		"the hook was given up":    {takes: 30 * s, hook: -s, fails: "deadline exceeded"},
		"the hook ends much later": {takes: s, limit: reach, hook: time.Hour, want: s},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, n, start := NewWithT(t), &network{takes: tt.takes}, time.Now()
				d := &dialing{transport: n, upgrader: n, limit: tt.limit}
				ctx, cancel := context.WithTimeout(t.Context(), tt.hook)
				defer cancel()
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server", nil)
				g.Expect(err).NotTo(HaveOccurred())
				response, err := d.RoundTrip(request)
				g.Expect(time.Since(start)).To(Equal(tt.want))
				if tt.fails != "" {
					g.Expect(err).To(MatchError(ContainSubstring(tt.fails)))
					g.Expect(d.unbegun(err)).To(BeTrue())
					time.Sleep(time.Minute) // of the bubble
					synctest.Wait()
					g.Expect(n.closed).To(Equal(1), "the late connection")
					return
				}
				g.Expect(err).NotTo(HaveOccurred())
				defer func() { _ = response.Body.Close() }()
				_, err = d.NewConnection(response)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(d.unbegun(errors.New("unable to upgrade"))).To(BeFalse(), "the command can have begun")
				g.Expect(d.translates(errors.New("unable to upgrade connection"))).To(BeFalse(), "it would run again")
				time.Sleep(time.Hour) // of the bubble
				g.Expect(n.closed).To(BeZero())
			})
		})
	}
}

// cluster is an API server with the pod "b" of a node that is lost, which terminates, and the pod "c". For "b" it only
// waits, as it does while it connects to the kubelet.
type cluster struct {
	*httptest.Server
	mu    sync.Mutex
	execs string
}

func lostNode(t *testing.T, alone bool) *cluster {
	t.Helper()
	c, done := &cluster{}, make(chan struct{})
	kubelet := kubelet(t, `{"status": "Success"}`)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/exec") {
			list(w, alone)
			return
		}
		pod := strings.Split(r.URL.Path, "/")[6]
		c.mu.Lock()
		c.execs += pod
		c.mu.Unlock()
		if pod == "c" {
			kubelet.Config.Handler.ServeHTTP(w, r)
			return
		}
		<-done
		http.Error(w, "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout", http.StatusInternalServerError)
	}))
	t.Cleanup(c.Close)
	t.Cleanup(func() { close(done) })
	return c
}

// list answers with the pods of a cluster.
func list(w http.ResponseWriter, alone bool) {
	pod := func(name types.UID, gone *metav1.Time) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: string(name), UID: name, DeletionTimestamp: gone,
			},
			Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "db"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
	}
	pods := []corev1.Pod{pod("b", &metav1.Time{Time: time.Now()}), pod("c", nil)}
	if alone {
		pods = pods[:1]
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&corev1.PodList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: pods,
	})
}

// thaws makes attempts of a thaw by command, in the pods that it chooses one after the other.
func (c *cluster) thaws(t *testing.T, strategy v1alpha1.HookStrategy) (out hookstage.Outcome, execs string) {
	t.Helper()
	config := &rest.Config{Host: c.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	run := hookstage.Run{
		Attempt: hookstage.Attempt{Stage: hookstage.Post, Name: "thaw", Number: 1},
		Former:  []v1alpha1.HookPod{{Name: "b", UID: "b"}}, InAll: strategy == v1alpha1.ExecuteOnAll,
		Hook: &v1alpha1.ResolvedHook{
			Name: "thaw", Timeout: &metav1.Duration{Duration: time.Second},
			Action: &v1alpha1.HookAction{Exec: &v1alpha1.HookExecAction{Command: []string{"thaw"}}},
			Executor: v1alpha1.HookExecutor{
				Type: v1alpha1.HookExecutorPod, Pod: &v1alpha1.HookPodExecutor{Selector: "app=db", Strategy: strategy},
			},
		},
	}
	for range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), run.Hook.Timeout.Duration)
		out = (&Executor{Config: config}).Execute(ctx, "default", run)
		cancel()
		if out.Pod == nil {
			break
		}
		run.Pod = out.Pod
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return out, c.execs
}

// A pod of a lost node terminates for ever, and seems to run. It must not keep a thaw from the pod in its place.
func TestAThawByCommandLeavesAPodOfALostNode(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		strategy v1alpha1.HookStrategy
		alone    bool
		reason   string
		execs    []string
	}{
		"in one":        {v1alpha1.ExecuteOnOne, false, "", []string{"bc"}},
		"in all":        {v1alpha1.ExecuteOnAll, false, "", []string{"bc", "cb"}},
		"in one, alone": {v1alpha1.ExecuteOnOne, true, v1alpha1.ReasonHookTimeout, []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			out, execs := lostNode(t, tt.alone).thaws(t, tt.strategy)
			g.Expect(out.Reason).To(Equal(tt.reason), out.Message)
			g.Expect(tt.execs).To(ContainElement(execs))
		})
	}
}

// An API server that translates a WebSocket accepts it before it connects to the kubelet, and says through it how that
// went. Something before it refuses SPDY.
func TestWhatAWebSocketTellsOfACommand(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		refusal, status string
		sockets         int32
		want            bool
	}{
		"SPDY is refused": {"no", `error executing command in container: no such file`, 1, false},
		"the node is lost": {
			"no", `error sending request: Post \"https://10.0.0.1:10250/exec\": dial tcp: i/o timeout`, 1, true,
		},
		"it says something like that": {
			"no", `error executing command in container: error sending request: no`, 1, false,
		},
		"SPDY tells that the node is lost": {"error dialing backend: dial tcp: i/o timeout", "", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			var sockets atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !wsstream.IsWebSocketRequest(r) {
					http.Error(w, tt.refusal, http.StatusInternalServerError)
					return
				}
				sockets.Add(1)
				conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
					streaming.StreamProtocolV5Name: {Binary: true, Channels: []wsstream.ChannelType{
						wsstream.IgnoreChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel,
					}},
				})
				_, streams, err := conn.Open(w, r)
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				status := `{"status": "Failure", "message": "Internal error occurred: ` + tt.status + `"}`
				_, _ = io.WriteString(streams[3], status)
			}))
			t.Cleanup(s.Close)
			err := commandAt(t, s.URL)
			g.Expect(err).To(MatchError(ContainSubstring(strings.Split(tt.status, `\`)[0])))
			g.Expect(unbegun(err)).To(Equal(tt.want), err.Error())
			g.Expect(sockets.Load()).To(Equal(tt.sockets))
		})
	}
}
