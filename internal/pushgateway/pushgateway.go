// Package pushgateway pushes metrics of ended runs and restores to a Prometheus Pushgateway, with the names and
// labels of Stash. A Client is safe for concurrent use; a Set is for one goroutine. No credential is part of a URL or
// an error.
package pushgateway

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/cairn-backup/cairn/internal/text"
)

// timeout bounds one push.
const timeout = 10 * time.Second

// Client pushes to one Pushgateway. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
}

// New checks the URL of a Pushgateway. It must contain no credential, because it stands in the arguments of a
// program.
func New(address string) (*Client, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("invalid URL %q: write a URL such as http://pushgateway:9091", address)
	case u.User != nil:
		return nil, fmt.Errorf("the URL of the Pushgateway at %s must not contain a credential", u.Host)
	}
	// Whoever closes the idle connections of http.DefaultTransport can break a push that begins on one.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	client := &http.Client{Timeout: timeout, Transport: transport}
	return &Client{url: strings.TrimSuffix(address, "/"), http: client}, nil
}

// maxAnswer is how many bytes of the answer of a Pushgateway an error holds.
const maxAnswer = 512

// Push pushes every group of the Set. Pushing a Set again changes nothing. Its errors hold the start of the answer.
func (c *Client) Push(ctx context.Context, set *Set) error {
	for _, g := range set.groups {
		pusher := push.New(c.url, set.job).Client(c.http).Gatherer(g.registry)
		for i := 0; i < len(g.key); i += 2 {
			pusher.Grouping(g.key[i], g.key[i+1])
		}
		do := pusher.AddContext
		if g.whole {
			do = pusher.PushContext
		}
		if err := do(ctx); err != nil {
			return fmt.Errorf("push metrics of %s: %s", set.job, text.Cut(err.Error(), maxAnswer))
		}
	}
	return nil
}

// Set holds the metrics of one run or restore.
type Set struct {
	job    string
	groups []*group
}

// group is a group of a Pushgateway: series of the job with the labels of a key. A push removes every series that has
// the name of a pushed series and is not pushed. If the group is whole, a push removes every other series. So success
// is in a group that is whole, and what stays true after a failure is in another group of the same target or host.
// succeeded stands in a group that is whole, and what stays true after a failure in a group of what can fail alone.
type group struct {
	key      []string // names and values of labels
	whole    bool
	registry *prometheus.Registry
	gauges   map[string]*prometheus.GaugeVec
}

// group returns the group of the labels with these names. The first call creates it.
func (s *Set) group(whole bool, labels prometheus.Labels, names []string) *group {
	var key []string
	for _, name := range names {
		key = append(key, name, labels[name])
	}
	for _, g := range s.groups {
		if slices.Equal(g.key, key) {
			return g
		}
	}
	g := &group{key: key, whole: whole, registry: prometheus.NewRegistry(), gauges: map[string]*prometheus.GaugeVec{}}
	s.groups = append(s.groups, g)
	return g
}

// jobOf returns the job under which Stash pushes: <kind>-<namespace>-<name>, the kind in lower case.
func jobOf(kind, namespace, name string) string {
	return strings.ToLower(kind) + "-" + namespace + "-" + name
}

// gauge sets a series under both of Stash's names. All series of a name have the same labels; the Pushgateway sets
// those of the group's key.
func (g *group) gauge(name, legacy, help string, value float64, labels prometheus.Labels) {
	labels = with(labels)
	for i := 0; i < len(g.key); i += 2 {
		delete(labels, g.key[i])
	}
	for _, name := range []string{"stash_appscode_com_" + name, "stash_" + legacy} {
		vec, ok := g.gauges[name]
		if !ok {
			vec = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, slices.Sorted(maps.Keys(labels)))
			g.registry.MustRegister(vec)
			g.gauges[name] = vec
		}
		vec.With(labels).Set(value)
	}
}

// with returns a copy of labels with more labels.
func with(labels prometheus.Labels, more ...string) prometheus.Labels {
	out := make(prometheus.Labels, len(labels)+len(more)/2)
	for key, value := range labels {
		out[key] = value
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

func success(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}
