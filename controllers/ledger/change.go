package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/ledger"
)

// change is what one attempt wants to write to the branch. The store calls edit again for each new head, because the
// branch can move.
type change struct {
	ledger  *v1alpha1.Ledger
	cluster ledger.Cluster
	records []ledger.Record
	page    []byte
	when    time.Time
	left    string // folder whose page the Ledger keeps no longer; "" if there is none
	earlier []earlier

	// careful makes edit look for each record before it writes it. Without careful, a record that exists with the same
	// content costs nothing, and a record with different content is an error of the store.
	careful bool
	// room is the size in bytes of the records that the change adds at most, unless it adds just one. 0 is no limit.
	room int

	added   []ledger.Record  // not in the branch before
	present []ledger.Record  // in the branch before with the same content, as far as careful looked
	differs []ledger.Record  // in the branch with different content, which stays
	later   map[string]error // paths of the records that room leaves to another push
	missing []earlier        // what another branch had, and this one lacks
}

func (c *change) edit(ctx context.Context, head gitstore.Reader) ([]gitstore.Edit, gitstore.Meta, error) {
	folder := ledger.Folder(c.ledger.Spec.Path, c.ledger.Spec.ClusterName) + "/"
	edits, err := c.claim(ctx, head, folder+ledger.ClusterFile, c.cluster)
	if err != nil {
		return nil, gitstore.Meta{}, err
	}
	retired, err := c.retire(ctx, head)
	if err != nil {
		return nil, gitstore.Meta{}, err
	}
	edits = append(append(edits, retired...), gitstore.Put(folder+ledger.PageFile, c.page))
	c.added, c.present, c.differs = nil, nil, nil
	if c.careful {
		paths := make([]string, len(c.records))
		for i, r := range c.records {
			paths[i] = folder + r.Path
		}
		if err := head.Prefetch(ctx, paths); err != nil {
			return nil, gitstore.Meta{}, err
		}
	}
	for _, r := range c.records {
		put, err := c.wanted(ctx, head, folder, r)
		if err != nil {
			return nil, gitstore.Meta{}, err
		}
		if put {
			c.added = append(c.added, r)
		}
	}
	c.fit()
	if err := c.findMissing(ctx, head); err != nil {
		return nil, gitstore.Meta{}, err
	}
	objects := make([]ledger.Object, len(c.added))
	for i, r := range c.added {
		objects[i] = r.Object
		edits = append(edits, gitstore.Put(folder+r.Path, []byte(r.Content)))
	}
	author := c.ledger.Spec.Author
	return edits, gitstore.Meta{
		Author: author.Name, AuthorEmail: author.Email, When: c.when,
		Message: ledger.CommitMessage(c.ledger.Spec.ClusterName, objects),
	}, nil
}

// errLater means that a record waits for another push.
var errLater = errors.New("there was no room for the record in this push")

// fit leaves the largest records to another push if there is no room for all.
func (c *change) fit() {
	c.later = map[string]error{}
	if c.room == 0 {
		return
	}
	smallest := slices.Clone(c.added)
	slices.SortStableFunc(smallest, func(a, b ledger.Record) int { return cmp.Compare(len(a.Content), len(b.Content)) })
	for i, bytes := 0, 0; i < len(smallest); i++ {
		if bytes += len(smallest[i].Content); i > 0 && bytes > c.room {
			c.later[smallest[i].Path] = errLater
		}
	}
	c.added = slices.DeleteFunc(c.added, func(r ledger.Record) bool { return c.later[r.Path] != nil })
}

// retire writes into the page of the folder that the Ledger has left that nobody keeps it any more. It leaves a folder
// alone that belongs to another cluster, has no page, or can't be read.
func (c *change) retire(ctx context.Context, head gitstore.Reader) ([]gitstore.Edit, error) {
	if c.left == "" {
		return nil, nil
	}
	name := path.Base(c.left)
	owner, err := c.claim(ctx, head, path.Join(c.left, ledger.ClusterFile),
		ledger.Cluster{Name: name, UID: c.cluster.UID})
	var unclear *fault
	var unread *gitstore.RemoteError
	if len(owner) > 0 || errors.Is(err, errNameTaken) || errors.As(err, &unclear) || errors.As(err, &unread) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old := path.Join(c.left, ledger.PageFile)
	if _, err := head.Lookup(ctx, old); err != nil {
		if errors.Is(err, gitstore.ErrNoFile) {
			return nil, nil
		}
		return nil, err
	}
	now := path.Join(ledger.Folder(c.ledger.Spec.Path, c.ledger.Spec.ClusterName), ledger.PageFile)
	return []gitstore.Edit{gitstore.Put(old, ledger.Retire(c.page, name, c.when, now))}, nil
}

// claim makes sure that the folder belongs to this cluster.
func (c *change) claim(
	ctx context.Context, head gitstore.Reader, path string, cluster ledger.Cluster,
) ([]gitstore.Edit, error) {
	ours, err := cluster.Bytes()
	if err != nil {
		return nil, err
	}
	entry, err := head.Lookup(ctx, path)
	switch {
	case errors.Is(err, gitstore.ErrNoFile):
		return []gitstore.Edit{gitstore.Put(path, ours)}, nil
	case err != nil:
		return nil, err
	case entry.Hash == gitstore.BlobHash(ours):
		return nil, nil
	}
	raw, err := head.ReadFile(ctx, path)
	switch {
	case errors.Is(err, gitstore.ErrNoBlob):
		return nil, &fault{
			reason: v1alpha1.ReasonGitOperationFailed, err: err,
			message: fmt.Sprintf("%v, so nobody knows whose folder it is: if it is this cluster's, make the content "+
				"exactly %q", err, ours),
		}
	case err != nil:
		return nil, err
	}
	if there, err := ledger.ParseCluster(raw); err == nil && there.UID == cluster.UID {
		return nil, nil
	}
	return nil, fmt.Errorf("%s: %w", path, errNameTaken)
}

// wanted reports whether edit has to write a record.
func (c *change) wanted(ctx context.Context, head gitstore.Reader, folder string, r ledger.Record) (bool, error) {
	if !c.careful {
		return true, nil
	}
	entry, err := head.Lookup(ctx, folder+r.Path)
	switch {
	case errors.Is(err, gitstore.ErrNoFile):
		return true, nil
	case err != nil:
		return false, err
	case entry.Hash != gitstore.BlobHash([]byte(r.Content)):
		c.differs = append(c.differs, r)
	default:
		c.present = append(c.present, r)
	}
	return false, nil
}

// update brings the branch up to date. It repeats the update with careful if the store refuses to change a record.
func (c *change) update(ctx context.Context, store *gitstore.Store) (gitstore.Result, error) {
	result, err := store.Update(ctx, c.edit)
	if !c.careful && errors.Is(err, gitstore.ErrAppendOnly) {
		c.careful = true
		result, err = store.Update(ctx, c.edit)
	}
	return result, err
}

// arrived returns the number of records in the branch that are not counted yet: the records that this push added, and
// those of an earlier push whose result was never written to the status.
func (c *change) arrived(outcome gitstore.Outcome, counted map[string]bool) int {
	n := 0
	if outcome != gitstore.Unchanged {
		n = ledger.Count(c.added)
	}
	return n + ledger.Count(slices.DeleteFunc(slices.Clone(c.present), func(r ledger.Record) bool {
		return counted[r.Path]
	}))
}

// gathered is what one push takes from an outbox. Each file of a record is there once even if two parcels hold it.
type gathered struct {
	taken   []parcel
	records []ledger.Record
	// counted holds the paths that status.recorded already includes.
	counted map[string]bool
	// unreadable names the ConfigMaps that do not hold what Cairn wrote. They hold up no other.
	unreadable []quarantined
	// bytes is the size of the records.
	bytes int
}

// quarantined is a parcel that does not hold what Cairn wrote, and why.
type quarantined struct {
	name string
	err  error
}

// gather reads the oldest parcels, up to a limit.
func (r *Reconciler) gather(ctx context.Context, l *v1alpha1.Ledger, parcels []parcel) (gathered, error) {
	out, seen := gathered{counted: map[string]bool{}}, map[string]bool{}
	for _, p := range parcels {
		if len(out.records) > maxRecords || out.bytes > maxBytes {
			break
		}
		some, err := r.Outbox.take(ctx, p)
		if errors.Is(err, ledger.ErrParcel) {
			out.unreadable = append(out.unreadable, quarantined{p.meta.Name, err})
			continue
		}
		if err != nil {
			r.Outbox.putBack(out.taken)
			return gathered{}, err
		}
		out.taken = append(out.taken, p)
		for _, f := range some {
			out.counted[f.Path] = out.counted[f.Path] || slices.Contains(l.Status.Counted, p.meta.Name)
			if !seen[f.Path] {
				seen[f.Path] = true
				out.records = append(out.records, f)
				out.bytes += len(f.Content)
			}
		}
	}
	slices.SortFunc(out.records, func(a, b ledger.Record) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// change returns what a push wants to write. looks reports that it looks for earlier records.
func (r *Reconciler) change(
	ctx context.Context, l *v1alpha1.Ledger, records []ledger.Record, looks bool,
) (*change, error) {
	c := &change{ledger: l, cluster: r.clusterOf(l), records: records, when: r.Clock.Now()}
	var err error
	if c.page, err = r.page(ctx, l); err != nil {
		return nil, err
	}
	if looks {
		if c.earlier, err = r.listEarlier(ctx, l); err != nil {
			return nil, err
		}
	}
	if at := l.DeletionTimestamp; !at.IsZero() {
		kept, err := r.keptByOther(ctx, l, ledger.Place(l))
		if err != nil {
			return nil, err
		}
		if !kept {
			c.page = ledger.Retire(c.page, l.Spec.ClusterName, at.Time, "")
		}
	}
	old := l.Status.LastFolder
	if old == "" || old == ledger.Folder(l.Spec.Path, l.Spec.ClusterName) || elsewhere(l) {
		return c, nil
	}
	kept, err := r.keptByOther(ctx, l, ledger.PushedTo(l)+"/"+old)
	if err == nil && !kept {
		c.left = old
	}
	return c, err
}

// clusterOf returns the claim on the Ledger's folder.
func (r *Reconciler) clusterOf(l *v1alpha1.Ledger) ledger.Cluster {
	return ledger.Cluster{Name: l.Spec.ClusterName, UID: types.UID(r.ClusterUID)}
}
