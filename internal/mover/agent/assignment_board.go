package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
)

// Resources that assign work.
const (
	snapshots       = "snapshots"
	restoreSessions = "restoresessions"
)

// posting is an assignment to this pod.
type posting struct {
	resource, object string
	uid              types.UID
	assignment       sidecar.Assignment
}

// same reports whether two postings ask for the same work. A request to stop does not make it other work.
func (p posting) same(o posting) bool {
	return p.resource == o.resource && p.uid == o.uid && p.assignment.Host == o.assignment.Host &&
		p.assignment.Attempt == o.assignment.Attempt
}

// assignmentBoard holds the assignments of this pod only. It drops everything else that the watches bring.
type assignmentBoard struct {
	pod types.UID

	mu       sync.Mutex
	postings map[string]posting // by resource and name
	done     []posting
	change   chan struct{} // closed at the next change
}

func newBoard(pod types.UID) *assignmentBoard {
	return &assignmentBoard{pod: pod, postings: map[string]posting{}, change: make(chan struct{})}
}

// changed returns a channel that is closed at the next change.
func (b *assignmentBoard) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.change
}

func (b *assignmentBoard) tell() {
	close(b.change)
	b.change = make(chan struct{})
}

// next returns the oldest assignment that is not done.
func (b *assignmentBoard) next() *posting {
	b.mu.Lock()
	defer b.mu.Unlock()
	var open []posting
	for _, p := range b.postings {
		if !slices.ContainsFunc(b.done, p.same) {
			open = append(open, p)
		}
	}
	if len(open) == 0 {
		return nil
	}
	first := slices.MinFunc(open, func(a, b posting) int {
		return cmp.Or(given(a).Compare(given(b)), cmp.Compare(a.resource, b.resource), cmp.Compare(a.object, b.object))
	})
	return &first
}

// given returns when the pod was chosen.
func given(p posting) time.Time {
	if p.assignment.Given != nil {
		return p.assignment.Given.Time
	}
	return p.assignment.Since.Time
}

// finished marks an assignment as done for as long as it stands, so that it is not done again.
func (b *assignmentBoard) finished(p posting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = append(b.done, p)
	b.forget()
}

// forget drops finished assignments that no longer stand.
func (b *assignmentBoard) forget() {
	b.done = slices.DeleteFunc(b.done, func(p posting) bool {
		now, ok := b.postings[key(p.resource, p.object)]
		return !ok || !now.same(p)
	})
}

// later waits before the assignment is read again.
func (b *assignmentBoard) later(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryReportEvery):
	}
}

// stands reports whether the assignment still exists.
func (b *assignmentBoard) stands(p posting) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, ok := b.postings[key(p.resource, p.object)]
	return ok && now.same(p)
}

// stop reports whether the assignment must stop.
func (b *assignmentBoard) stop(p posting) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.postings[key(p.resource, p.object)].assignment.Stop
}

// follow cancels the work on an assignment when the assignment is withdrawn or must stop.
func (b *assignmentBoard) follow(ctx context.Context, p posting, cancel context.CancelCauseFunc) {
	for {
		changed := b.changed()
		switch {
		case !b.stands(p):
			cancel(errWithdrawn)
			return
		case b.stop(p) && !p.assignment.Stop:
			cancel(errStop)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func key(resource, name string) string { return resource + "/" + name }

// put takes in what the watch reports of an object.
func (b *assignmentBoard) put(resource string, o *metav1.PartialObjectMetadata) {
	p := posting{resource: resource, object: o.Name, uid: o.UID}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := key(resource, o.Name)
	before, had := b.postings[at]
	work, err := sidecar.Decode(o.Annotations[v1alpha1.AnnotationSidecarTask])
	a := work.For(b.pod)
	if err != nil || a == nil || v1alpha1.HasRecordAnnotation(o.Annotations) {
		delete(b.postings, at)
		if had {
			b.forget()
			b.tell()
		}
		return
	}
	p.assignment = *a
	b.postings[at] = p
	if !had || !before.same(p) || before.assignment.Stop != p.assignment.Stop {
		b.forget()
		b.tell()
	}
}

func (b *assignmentBoard) remove(resource, name string) {
	b.put(resource, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// only drops all assignments of a resource except those of the named objects.
func (b *assignmentBoard) only(resource string, names map[string]bool) {
	b.mu.Lock()
	var gone []string
	for _, p := range b.postings {
		if p.resource == resource && !names[p.object] {
			gone = append(gone, p.object)
		}
	}
	b.mu.Unlock()
	for _, name := range gone {
		b.remove(resource, name)
	}
}

// watchStore is the part of the board that the watch of one resource fills. It stores no object.
type watchStore struct {
	*assignmentBoard
	resource string
}

var errNoObject = errors.New("the watch brought no object")

// Add implements cache.ReflectorStore.
func (s watchStore) Add(o any) error {
	object, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("%w: %T", errNoObject, o)
	}
	s.put(s.resource, object)
	return nil
}

// Update implements cache.ReflectorStore.
func (s watchStore) Update(o any) error { return s.Add(o) }

// Delete implements cache.ReflectorStore. For the watch, an object that loses the label is deleted.
func (s watchStore) Delete(o any) error {
	object, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("%w: %T", errNoObject, o)
	}
	s.remove(s.resource, object.Name)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s watchStore) Replace(list []any, _ string) error {
	names := map[string]bool{}
	for _, o := range list {
		if object, ok := o.(*metav1.PartialObjectMetadata); ok {
			names[object.Name] = true
			s.put(s.resource, object)
		}
	}
	s.only(s.resource, names)
	return nil
}

// Resync implements cache.ReflectorStore.
func (s watchStore) Resync() error { return nil }

// watch keeps the board's part of one resource in step with the API server until ctx ends.
func (s *Sidecar) watch(ctx context.Context, b *assignmentBoard, resource string) {
	client := s.Metadata.Resource(v1alpha1.GroupVersion.WithResource(resource)).Namespace(s.Namespace)
	selector := v1alpha1.LabelSidecar + "=" + s.ID
	reflector := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return client.Watch(ctx, o)
		},
	}, &metav1.PartialObjectMetadata{}, watchStore{b, resource}, cache.ReflectorOptions{Name: resource})
	reflector.RunWithContext(ctx)
}
