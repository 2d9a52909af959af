package faults

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
)

// gate is the part of a proxy that can stop requests. The zero value lets everything through.
type gate struct {
	mu     sync.Mutex
	stops  []*stop
	passes func(*http.Request) // is called before each request that is let through
}

// stop is a point at which requests get stuck until their sender is gone.
type stop struct {
	// match reports whether a request gets stuck. It is called for one request at a time.
	match func(*http.Request) bool
	// after means that the first such request takes effect and only its answer is withheld.
	after bool
	// reached is closed when a request is stuck.
	reached chan struct{}
	// answer is the status of the withheld answer, and where the request was going.
	answer int
	where  string
}

// arm makes a stop.
func (g *gate) arm(after bool, match func(*http.Request) bool) *stop {
	s := &stop{match: match, after: after, reached: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stops = append(g.stops, s)
	return s
}

// disarm lets requests pass again. Requests that are stuck stay stuck.
func (g *gate) disarm(stops ...*stop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stops = slices.DeleteFunc(g.stops, func(s *stop) bool { return slices.Contains(stops, s) })
}

// find returns the stop that a request runs into; first reports that no other request got there before.
func (g *gate) find(r *http.Request) (s *stop, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.stops {
		if s.match(r) {
			if first = s.where == ""; first {
				s.where = r.Method + " " + r.URL.RequestURI()
			}
			return s, first
		}
	}
	return nil, false
}

// wrap puts the gate before a handler.
func (g *gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, first := g.find(r)
		if s == nil {
			if g.passes != nil {
				g.passes(r)
			}
			next.ServeHTTP(w, r)
			return
		}
		// Only with its whole body read does the server see that the sender is gone.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if first {
			if s.after {
				r.Body = io.NopCloser(bytes.NewReader(body))
				answer := httptest.NewRecorder()
				next.ServeHTTP(answer, r.WithContext(context.WithoutCancel(r.Context())))
				s.answer = answer.Code
			}
			close(s.reached)
		}
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
}

// has reports whether the body of a request contains a text. The body stays readable.
func has(r *http.Request, text string) bool {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && bytes.Contains(body, []byte(text))
}
