// Package pushgateway pushes what ended to a Prometheus Pushgateway, with the names and labels that Stash has.
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
)

// timeout of one push.
const timeout = 10 * time.Second

// Client pushes to one Pushgateway. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
}

// New checks the URL of a Pushgateway. It must hold no credential: it stands in the arguments of a program.
func New(address string) (*Client, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q is not a URL such as http://pushgateway:9091", address)
	case u.User != nil:
		return nil, fmt.Errorf("the URL of the Pushgateway at %s must hold no credential", u.Host)
	}
	return &Client{url: strings.TrimSuffix(address, "/"), http: &http.Client{Timeout: timeout}}, nil
}

// Push pushes every group of the Set. To push a Set again changes nothing.
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
			return fmt.Errorf("push the metrics of %s: %w", set.job, err)
		}
	}
	return nil
}

// Set is the metrics of one session or restore.
type Set struct {
	job    string
	groups []*group
}

// group is what a Pushgateway takes together: series of the job with the labels of a key. A push takes every series away that
// has the name of a pushed one and is not pushed, and where the group is whole every series at all. So whether something
// succeeded stands in a group that is whole, and what stays true after a failure in a group of what can fail alone.
type group struct {
	key      []string // names and values of labels
	whole    bool
	registry *prometheus.Registry
	gauges   map[string]*prometheus.GaugeVec
}

// group is that of the labels with these names. It is made when it is asked for first.
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

// jobOf is the job that Stash pushes under: <kind>-<namespace>-<name>, the kind in lower case.
func jobOf(kind, namespace, name string) string {
	return strings.ToLower(kind) + "-" + namespace + "-" + name
}

// gauge sets a series under both of Stash's names. All series of a name have the same labels; those of the group's key are
// the Pushgateway's to set.
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

// with adds labels to a copy.
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
