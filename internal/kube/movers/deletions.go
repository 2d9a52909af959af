package movers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/text"
)

// DeletedAgain is when a deletion that the API server refuses is tried again.
const DeletedAgain = 30 * time.Second

// deletionsFor is how long one pass begins deletions. A webhook that does not answer holds each up for seconds, and
// thaws wait behind them.
const deletionsFor = 5 * time.Second

// Deletion deletes something that an object no longer needs. It can be repeated.
type Deletion struct {
	// Name tells this deletion from the others of the object.
	Name string
	// Do deletes it. It returns no error if it is gone.
	Do func(context.Context) error
}

// Deletions tries deletions, and remembers which of them the API server refuses until they are tried again. It
// remembers the last 4,096 objects, and nothing after a restart. The zero value is ready for use. Deletions is safe for
// concurrent use.
type Deletions struct {
	mu  sync.Mutex
	all *lru.Cache // of the time of each last refusal and its error, by name, by the UID of their object
}

// refusedDeletion is the last refusal of a deletion.
type refusedDeletion struct {
	at  time.Time
	err error
}

// Try tries a deletion, unless it was refused a moment ago: then it returns that refusal. news means that the refusal
// was not known before.
func (d *Deletions) Try(
	ctx context.Context, of types.UID, clock clock.PassiveClock, one Deletion,
) (news bool, err error) {
	last, known := d.last(of, one.Name)
	if now := clock.Now(); known && !now.Before(last.at) && now.Before(last.at.Add(DeletedAgain)) {
		return false, last.err
	}
	err = one.Do(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	refused := d.of(of)
	if !Denied(err) {
		delete(refused, one.Name)
		return false, err
	}
	refused[one.Name] = refusedDeletion{clock.Now(), err} // the refusal can have taken long
	d.all.Add(of, refused)
	return !known, err
}

// All tries all deletions, whatever becomes of the others, except for those for which there is no time. Each gets its
// turn. refused means that the API server refuses some, which are to be tried again after DeletedAgain. news says which
// of these were not known before, or is "". The error is what else went wrong.
func (d *Deletions) All(
	ctx context.Context, of types.UID, clock clock.PassiveClock, all []Deletion,
) (refused bool, news string, err error) {
	var errs []error
	var told []string
	began := clock.Now()
	for _, one := range d.inTurn(of, all) {
		if refused && clock.Since(began) >= deletionsFor {
			break
		}
		fresh, err := d.Try(ctx, of, clock, one)
		switch {
		case Denied(err):
			refused = true
			if fresh {
				told = append(told, err.Error())
			}
		case err != nil:
			errs = append(errs, err)
		}
	}
	if len(told) > 0 {
		news = text.Shorten("the API server refuses it: " + strings.Join(told, "; "))
	}
	return refused, news, errors.Join(errs...)
}

// DeletionsOf returns the deletions of the owner's Jobs of these names, except for the work of sidecars, which is no
// Job. See Delete.
func DeletionsOf(
	c client.Client, live client.Reader, owner client.Object, names []string, observed map[string]run.Job,
) []Deletion {
	var out []Deletion
	for _, name := range names {
		if job := observed[name]; !job.Sidecar {
			out = append(out, DeletionOf(c, live, owner, name, job))
		}
	}
	return out
}

// DeletionOf returns the deletion of a Job of owner and its pods. See Delete.
func DeletionOf(
	c client.Client, live client.Reader, owner client.Object, name string, observed run.Job,
) Deletion {
	return Deletion{Name: "Job " + name, Do: func(ctx context.Context) error {
		return Delete(ctx, c, live, owner, name, observed)
	}}
}

// Undeleted turns a denial to delete what has to go before something else is made into a refusal that can pass. It
// returns any other error unchanged.
func Undeleted(err error) error {
	if !Denied(err) {
		return err
	}
	return Refuse(v1alpha1.ReasonCreationRefused, "the API server refuses it: %v", err)
}

func (d *Deletions) last(of types.UID, name string) (refusedDeletion, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, known := d.of(of)[name]
	return last, known
}

// inTurn returns first what was not refused, and then what was refused, the oldest refusal first.
func (d *Deletions) inTurn(of types.UID, all []Deletion) []Deletion {
	d.mu.Lock()
	defer d.mu.Unlock()
	refused := d.of(of)
	return slices.SortedStableFunc(slices.Values(all), func(a, b Deletion) int {
		return refused[a.Name].at.Compare(refused[b.Name].at)
	})
}

// of returns the refusals of an object.
func (d *Deletions) of(object types.UID) map[string]refusedDeletion {
	if d.all == nil {
		d.all = lru.New(remembered)
	}
	if is, ok := d.all.Get(object); ok {
		return is.(map[string]refusedDeletion)
	}
	return map[string]refusedDeletion{}
}

// Forget forgets an object.
func (d *Deletions) Forget(of types.UID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all != nil {
		d.all.Remove(of)
	}
}
