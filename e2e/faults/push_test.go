package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// pushPoint is a moment around a push.
type pushPoint struct {
	name string
	// took reports that the server has the push by then.
	took bool
	// at makes the stop.
	at func(*pushCase) *stop
}

// pushCase is a Ledger that the manager is killed under, with two records on their way.
type pushCase struct {
	pushPoint
	// lost means that the manager's directory does not survive.
	lost bool

	server   *gitServer
	remote   *remote
	ledger   *v1alpha1.Ledger
	sessions []*v1alpha1.BackupSession
	pushed   atomic.Bool // since the stop was made
	stop     *stop
}

// pushPoints are the moments around a push: each request of the manager from the one that pushes to the one that
// empties the outbox, before it is sent on and after it was.
var pushPoints = []pushPoint{
	{name: "before the push is sent on", at: func(c *pushCase) *stop { return c.server.gate.arm(false, c.push) }},
	{name: "after the push was accepted, its reply withheld", took: true, at: func(c *pushCase) *stop {
		return c.server.gate.arm(true, c.push)
	}},
	{name: "after the reply, before it is written down", took: true, at: func(c *pushCase) *stop {
		return west.gate.arm(false, c.api("PATCH", "/ledgers/ledger/status"))
	}},
	{name: "after it was written down, the answer withheld", took: true, at: func(c *pushCase) *stop {
		return west.gate.arm(true, c.api("PATCH", "/ledgers/ledger/status"))
	}},
	{name: "between the sessions that are told", took: true, at: func(c *pushCase) *stop {
		return west.gate.arm(false, c.api("PATCH", "/backupsessions/b/status"))
	}},
	{name: "before the outbox is emptied", took: true, at: func(c *pushCase) *stop {
		return west.gate.arm(false, c.api("DELETE", "/configmaps/"))
	}},
	{name: "after the outbox was emptied, the answer withheld", took: true, at: func(c *pushCase) *stop {
		return west.gate.arm(true, c.api("DELETE", "/configmaps/"))
	}},
}

func (c *pushCase) push(r *http.Request) bool {
	return r.Method == http.MethodPost &&
		strings.HasSuffix(c.remote.url, strings.TrimSuffix(r.URL.Path, "/git-receive-pack"))
}

// api matches the API requests after the push that the case is about.
func (c *pushCase) api(method, what string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return c.pushed.Load() && r.Method == method &&
			strings.Contains(r.URL.Path, "/namespaces/"+c.ledger.Namespace+"/") &&
			strings.Contains(r.URL.Path, what)
	}
}

// Killed at any point around a push, with its directory kept or lost, the manager records everything once.
//
// Every case has a Ledger, a namespace and a repository of its own, and they all share one manager: it gets stuck at
// all points at once and is killed there.
func TestPushKilled(t *testing.T) {
	begun(t)
	t.Parallel()
	g := NewWithT(t)
	server := newGitServer(t, nil)
	var cases []*pushCase
	for _, point := range pushPoints {
		for _, lost := range []bool{false, true} {
			cases = append(cases, &pushCase{pushPoint: point, lost: lost, server: server})
		}
	}
	server.gate.passes = func(r *http.Request) {
		for _, c := range cases {
			if c.push(r) {
				c.pushed.Store(true)
			}
		}
	}
	for _, c := range cases {
		c.prepare(t)
	}
	data := t.TempDir()
	first := startManager(t, &west, data)
	for _, c := range cases {
		g.Eventually(func(g Gomega) {
			g.Expect(get(g, t, &west, c.ledger).Status.LastPushedCommit).NotTo(BeEmpty())
		}, patience, glance).Should(Succeed(), "the branch exists: %s", c.name)
	}
	// Both records must be in one push, however slow the machine is, so the push starts when both are in the outbox.
	for _, c := range cases {
		c.suspend(t, true)
		c.sessions = append(c.sessions, west.refused(t, c.ledger.Namespace, "a"),
			west.refused(t, c.ledger.Namespace, "b"))
	}
	for _, c := range cases {
		g.Eventually(func(g Gomega) {
			g.Expect(get(g, t, &west, c.ledger).Status.Pending).To(BeEquivalentTo(2))
		}, patience, glance).Should(Succeed(), "the records are in the outbox: %s", c.name)
		c.pushed.Store(false)
		c.stop = c.at(c)
		c.suspend(t, false)
	}
	for _, c := range cases {
		g.Eventually(c.stop.reached, patience).Should(BeClosed(), "the manager is stuck %s", c.name)
	}
	first.kill()
	for _, c := range cases {
		c.afterKill(t, data)
	}

	startManager(t, &west, data)
	for _, c := range cases {
		t.Run(c.title(), func(t *testing.T) { c.recovered(t) })
	}
	// And they go on.
	for _, c := range cases {
		c.sessions = append(c.sessions, west.refused(t, c.ledger.Namespace, "c"))
	}
	for _, c := range cases {
		t.Run("then one more, "+c.title(), func(t *testing.T) { c.recovered(t) })
	}
}

func (c *pushCase) title() string {
	if c.lost {
		return c.name + ", directory lost"
	}
	return c.name + ", directory kept"
}

// prepare makes what the case needs: also a PolicySync that watches another branch of the repository.
func (c *pushCase) prepare(t testing.TB) {
	t.Helper()
	namespace := west.Namespace(t, nil)
	c.remote = c.server.repository(t, namespace)
	west.Create(t, &v1alpha1.PolicySync{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "policy"},
		Spec: v1alpha1.PolicySyncSpec{
			URL: c.remote.url, Ref: &v1alpha1.GitRef{Branch: watched}, Path: "./", Suspend: true,
		},
	})
	c.ledger = west.ledger(t, namespace, "west", c.remote.url)
}

func (c *pushCase) suspend(t testing.TB, yes bool) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, yes))
	NewWithT(t).Expect(west.Client.Patch(t.Context(), c.ledger, patch)).To(Succeed())
}

// afterKill checks that the manager was where it should be, and lets the next one pass.
func (c *pushCase) afterKill(t testing.TB, data string) {
	t.Helper()
	g := NewWithT(t)
	t.Logf("%s: %s answer %d", c.title(), c.stop.where, c.stop.answer)
	if c.stop.after {
		g.Expect(c.stop.answer).To(Equal(http.StatusOK), c.stop.where)
	}
	if c.took {
		g.Expect(c.remote.commits("west")).To(HaveLen(1), "the server has it")
	} else {
		g.Expect(c.remote.commits("west")).To(BeEmpty(), "the server has nothing")
	}
	west.gate.disarm(c.stop)
	c.server.gate.disarm(c.stop)
	if c.lost {
		dir := filepath.Join(data, "ledgers", string(c.ledger.UID))
		g.Expect(dir).To(BeADirectory())
		g.Expect(os.RemoveAll(dir)).To(Succeed())
	}
}

// recovered checks that everything so far is recorded once.
func (c *pushCase) recovered(t *testing.T) {
	g := NewWithT(t)
	g.Eventually(func(g Gomega) { west.settled(g, t, c.ledger, c.sessions...) }, patience, glance).
		Should(Succeed(), "all is recorded")
	c.remote.check(t, "west", c.sessions...)
	g.Expect(c.ledger.Status.Recorded).To(BeEquivalentTo(len(c.sessions)), "status.recorded")
	commits := c.remote.commits("west")
	g.Expect(commits).To(HaveLen(len(c.sessions)-1), "the first two in one commit, the third in its own")
	for _, s := range c.sessions {
		in := lines(c.remote.git("rev-list", branch, "--", recordPath("west", s)))
		g.Expect(in).To(HaveLen(1))
		g.Expect(s.Status.Records[0].Commit).To(Equal(in[0]), "%s names the commit that has it", s.Name)
	}
}
