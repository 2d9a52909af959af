package gitstore

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// While nobody else writes, an Update is a listing and a post without a fetch.
func TestFetchIsSkippedWhileAlone(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t, lazyAll)
	s, other := r.open(t), r.open(t)
	want := map[string]string{}
	update := func(s *Store, i int) (requests int) {
		before := s.Stats().Requests
		want[record(i)] = "x"
		res, err := s.Update(ctx, put(map[string]string{record(i): "x"}))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Outcome).To(Equal(accepted))
		g.Expect(res.Attempts).To(Equal(1))
		return s.Stats().Requests - before
	}
	g.Expect(update(s, 0)).To(Equal(3), "fetch's listing, push's listing, push")
	g.Expect(update(s, 12)).To(Equal(2), "the same directories: nothing to fetch")
	update(other, 24)
	g.Expect(update(s, 36)).To(BeNumerically(">", 3), "the push's listing found the other's commit")
	g.Expect(update(s, 48)).To(BeNumerically(">=", 3), "somebody else writes: ask first")
	g.Expect(update(s, 60)).To(Equal(2), "nobody did")

	// "Unchanged" is never reported for a head that nobody has confirmed.
	update(s, 72)
	r.git("update-ref", "-d", "refs/heads/"+branch)
	_, err := s.Update(ctx, put(want))
	g.Expect(err).To(MatchError(ErrHistoryRewritten))
}

// An error in the Update without a fetch makes the next one fetch.
func TestErrorEndsSkipping(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	f := &faults{}
	r := newRemote(t, withMiddleware(f.middleware))
	s := r.open(t)
	want := map[string]string{record(0): "x"}
	_, err := s.Update(ctx, put(want))
	g.Expect(err).NotTo(HaveOccurred())
	f.next(post, 1, func(n http.Handler, w http.ResponseWriter, r *http.Request) {
		f.next(recvd, 1, status(503, "down"))
		dropped(0)(n, w, r)
	})
	want[record(1)] = "y"
	_, err = s.Update(ctx, put(want))
	g.Expect(err).To(MatchError(ErrOutcomeUnknown))
	res, err := s.Update(ctx, put(want))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Outcome).To(Equal(Unchanged))
	r.check(g, want)
	g.Expect(lines(r.git("rev-list", branch))).To(HaveLen(2))
}

func TestCommitDatesNeverRunBackwards(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	s := r.open(t)
	for i, at := range []time.Time{when, when.Add(-time.Hour), when.Add(time.Minute)} {
		_, err := s.Update(ctx, func(_ context.Context, _ Reader) ([]Edit, Meta, error) {
			return []Edit{Put(fmt.Sprint(i), nil)}, Meta{When: at}, nil
		})
		g.Expect(err).NotTo(HaveOccurred())
	}
	var want []string
	for _, d := range [][2]time.Duration{{0, 0}, {-time.Hour, 0}, {time.Minute, time.Minute}} {
		want = append(want, fmt.Sprint(when.Add(d[0]).Unix(), when.Add(d[1]).Unix()))
	}
	g.Expect(lines(r.git("log", "--reverse", "--format=%at %ct", branch))).To(Equal(want))
}

func TestObserve(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	f := &faults{}
	r := newRemote(t, withMiddleware(f.middleware))
	var seen []string
	clock := &ticking{}
	s := r.open(t, func(o *Options) {
		o.Clock = clock
		o.Observe = func(op, result string, d time.Duration) {
			g.Expect(d).To(BeNumerically(">", 0))
			seen = append(seen, op+" "+result)
		}
	})
	for step, tc := range []struct {
		match string
		do    func(http.Handler, http.ResponseWriter, *http.Request)
		want  string
	}{
		{"none", nil, "fetch ok, commit ok, push ok"},
		{"none", nil, "commit ok, push ok"},
		{post, status(403, ""), "commit ok, push auth"},
		{"service=git-upload-pack", status(404, ""), "fetch no_repository"},
		{post, status(502, ""), "fetch ok, commit ok, push unreachable"},
	} {
		seen = nil
		f.next(tc.match, 1, tc.do)
		_, _ = s.Update(ctx, put(map[string]string{record(step): "x"}))
		g.Expect(strings.Join(seen, ", ")).To(Equal(tc.want), "step %d", step)
	}
}

// Who looks for many files asks once for each level of directories.
func TestPrefetchAsksOnceForEachLevel(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t, lazyAll)
	files, paths := map[string]string{"file": "x"}, []string{"file/below", "nowhere/a"}
	for i := range 20 {
		paths = append(paths, fmt.Sprintf("records/policy-%d/run", i), fmt.Sprintf("records/policy-%d/gone", i))
		files[paths[len(paths)-2]] = "x"
	}
	_, err := r.open(t).Update(ctx, put(files))
	g.Expect(err).NotTo(HaveOccurred())
	s := r.open(t)
	g.Expect(view{s}.Prefetch(ctx, paths)).To(MatchError(errNotFetched))
	g.Expect(s.Fetch(ctx)).To(Succeed())
	before := s.Stats().Requests
	g.Expect(view{s}.Prefetch(ctx, paths)).To(Succeed())
	g.Expect(s.Stats().Requests-before).To(Equal(3), "the root, records, and all of its directories")
	for _, p := range paths {
		_, err := s.Lookup(ctx, p)
		if files[p] == "" {
			g.Expect(err).To(MatchError(ErrNoFile))
		} else {
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	g.Expect(s.Stats().Requests - before).To(Equal(3))
}

// A copy of the branch, to which there is nothing to push, is kept in mind like one that was pushed to.
func TestACopyThatIsResetIsNoticed(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	files := map[string]string{record(0): "x"}
	_, err := r.open(t).Update(ctx, put(files))
	g.Expect(err).NotTo(HaveOccurred())
	first := r.tip()
	files[record(1)] = "y"
	_, err = r.open(t).Update(ctx, put(files))
	g.Expect(err).NotTo(HaveOccurred())
	s := r.open(t)
	res, err := s.Update(ctx, put(files))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Outcome).To(Equal(Unchanged))
	g.Expect(s.LastPushed()).To(Equal(res.Commit))
	g.Expect(s.Close()).To(Succeed())
	r.git("update-ref", "refs/heads/"+branch, first)
	s = r.open(t, func(o *Options) { o.Dir = s.dir })
	_, err = s.Update(ctx, put(files))
	g.Expect(err).To(MatchError(ErrHistoryRewritten))
}
