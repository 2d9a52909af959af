package testbed

import (
	"net/http"
	"strings"
)

// Writes returns the manager's requests so far that change something in the namespace, as "<method> <path>", except
// events.
func (b *Bed) Writes(namespace string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var some []string
	for _, write := range b.writes {
		if strings.Contains(write, "/namespaces/"+namespace+"/") {
			some = append(some, write)
		}
	}
	return some
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (b *Bed) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("watch") == "true" || strings.HasSuffix(r.URL.Path, "/events") {
			return next.RoundTrip(r)
		}
		namespace := namespaceOf(r.URL.Path)
		b.begin(namespace, r)
		defer b.end(namespace)
		return next.RoundTrip(r)
	})
}

func (b *Bed) begin(namespace string, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == nil {
		b.asked, b.underWay = map[string]int{}, map[string]int{}
	}
	b.asked[namespace]++
	b.underWay[namespace]++
	if r.Method != http.MethodGet {
		b.writes = append(b.writes, r.Method+" "+r.URL.Path)
	}
}

func (b *Bed) end(namespace string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underWay[namespace]--
}

// requests returns how many requests the manager has begun in a namespace, and how many of them have no answer yet.
func (b *Bed) requests(namespace string) (asked, underWay int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[namespace], b.underWay[namespace]
}

// namespaceOf returns the namespace in a request's path, "" if there is none.
func namespaceOf(path string) string {
	_, after, _ := strings.Cut(path, "/namespaces/")
	namespace, _, _ := strings.Cut(after, "/")
	return namespace
}
