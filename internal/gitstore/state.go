package gitstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
)

// Files in the directory of a store. Everything in it can be rebuilt from the remote, except LastPushed, which the
// caller keeps too.
const (
	lockName    = "lock"
	stateName   = "store.json"
	objectsName = "objects.git"
)

// state survives a restart. It is written after the push was accepted; a crash in between leaves an older LastPushed,
// which is still an ancestor.
type state struct {
	Version    int    `json:"version"`
	URL        string `json:"url"`
	Ref        string `json:"ref"`
	Base       string `json:"base"`
	LastPushed string `json:"lastPushed"`
}

// checkOwned refuses a directory with files that no store wrote, because a store deletes files in its directory.
func checkOwned(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read store directory: %w", err)
	}
	for _, n := range names {
		switch n.Name() {
		case lockName, stateName, objectsName, stateName + ".new", "lost+found": // lost+found is on a volume of its own
		default:
			return fmt.Errorf("%w: %s has %q", ErrForeign, dir, n.Name())
		}
	}
	return nil
}

// load reads the state and opens the objects. An unreadable state counts as missing. The state of another branch is
// refused.
func (s *Store) load() error {
	var st state
	raw, err := os.ReadFile(filepath.Join(s.dir, stateName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read store state: %w", err)
	}
	if json.Unmarshal(raw, &st) != nil || st.Version != 1 {
		st = state{}
	} else if st.URL != s.remote.URL() || st.Ref != s.ref.String() {
		return fmt.Errorf("%w: it belongs to %s of %s", ErrForeign, st.Ref, st.URL)
	}
	// A base is of use only together with the last push that was found in its history.
	if s.last.IsZero() {
		s.last = plumbing.NewHash(st.LastPushed)
	}
	if s.last == plumbing.NewHash(st.LastPushed) {
		s.base = plumbing.NewHash(st.Base)
	}
	// Without a readable base, objects are of no use, and a damaged pack would be in the way of the same pack fetched
	// again.
	s.objects, err = openObjects(filepath.Join(s.dir, objectsName))
	if err != nil || s.base.IsZero() && s.objects.loose+s.objects.packs > 0 {
		return s.recycle()
	}
	if s.base.IsZero() {
		return nil
	}
	if c, err := s.objects.commit(s.base); err != nil || c == nil {
		return s.recycle()
	}
	return nil
}

// save replaces the state atomically and makes it durable.
func (s *Store) save() error {
	raw, err := json.Marshal(state{1, s.remote.URL(), s.ref.String(), s.base.String(), s.last.String()})
	if err != nil {
		return err
	}
	name := filepath.Join(s.dir, stateName)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write store state: %w", err)
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write store state: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write store state: %w", err)
	}
	return nil
}

// recycle drops all objects. The next Fetch gets the tip again, which is cheap (a commit, or the trees of one
// snapshot) and cleaner than repacking a store that has holes by design. It also repairs any damage.
func (s *Store) recycle() error {
	dir := filepath.Join(s.dir, objectsName)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("recycle store: %w", err)
	}
	fresh, err := openObjects(dir)
	if err != nil {
		return fmt.Errorf("recycle store: %w", err)
	}
	if s.objects != nil {
		fresh.stats = s.objects.stats
		fresh.stats.Recycles++
	}
	s.objects, s.fetched, s.lazy = fresh, false, nil
	s.base, s.head, s.pending = plumbing.ZeroHash, plumbing.ZeroHash, nil
	return s.save()
}

// overgrown reports whether the directory is due for recycling. It collects about seven loose objects per commit and
// one pack per fetch.
func (s *Store) overgrown() bool {
	return s.objects.loose > s.limits.LooseFiles || s.objects.packs > s.limits.Packs ||
		s.objects.bytes > s.limits.StoreBytes
}
