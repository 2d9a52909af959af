package kopia

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot/policy"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/text"
)

// forget removes from the index the contents with manifests that are lost. After that kopia works again by itself, and
// collects the data of the snapshots that only they described. So nothing is forgotten while one of these is needed:
// held says why, and its data is there if the storage finds the pack again. Only the owner forgets.
func (e *repoEngine) forget(
	ctx context.Context, s *surviving, needed func(context.Context) (map[string]string, error),
) (held, _ error) {
	switch owned, err := maintenance.IsOwnedByThisUser(ctx, s); {
	case err != nil:
		return nil, err
	case !owned:
		p, err := maintenance.GetParams(ctx, s)
		return nil, firstError(err, maintenance.NotOwnedError{Owner: p.Owner})
	case needed == nil:
		return corrupt(s.lost.String()), nil
	}
	names, err := needed(ctx)
	if err != nil {
		return nil, err
	}
	// Something that was lost when the repository was opened can be back.
	now := &surviving{DirectRepository: s.DirectRepository, lost: newLostManifests(s.DirectRepository)}
	err = repo.DirectWriteSession(ctx, now, repo.WriteSessionOptions{Purpose: "forget"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			gone, err := lacking(ctx, w, names)
			if err != nil {
				return err
			}
			if len(gone) > 0 {
				held = corrupt(fmt.Sprintf("%s. Lost with them: %s (%s). Nothing is collected until the data is back, "+
					"or until they are removed", now.lost, text.Quantity(len(gone), "Snapshot"), text.FirstFew(gone)))
				return nil
			}
			return now.drop(ctx, w, e.owner)
		})
	return held, err
}

// corrupt returns the error for damage of the repository.
func corrupt(why string) error {
	return &repository.Error{Op: "maintain", Kind: repository.ErrCorrupt, Err: errors.New(why)}
}

// lacking returns the names of the snapshots that are not described.
func lacking(ctx context.Context, w repo.RepositoryWriter, names map[string]string) (out []string, _ error) {
	for id, name := range names {
		_, err := w.GetManifest(ctx, manifest.ID(id), nil)
		if errors.Is(err, manifest.ErrNotFound) {
			out = append(out, name)
		} else if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// drop writes all manifests anew that can be read, and then removes from the index what is lost. kopia moves the
// manifests of several contents only, and those that can be read can be in a single one, which is deleted and lives no
// longer. So drop first writes some into a new content.
func (s *surviving) drop(ctx context.Context, w repo.DirectRepositoryWriter, owner string) error {
	sw, ok := w.(*survivingWriter)
	if !ok {
		return errors.New("not a writer of this package")
	}
	all, err := policy.GetDefinedPolicy(ctx, w, policy.GlobalPolicySourceInfo)
	switch {
	case errors.Is(err, policy.ErrPolicyNotFound):
		err = complete(ctx, w, owner)
	case err == nil:
		err = policy.SetPolicy(ctx, w, policy.GlobalPolicySourceInfo, all)
	}
	if err == nil {
		err = sw.manifests.Flush(ctx)
	}
	if err == nil {
		err = sw.manifests.Compact(ctx)
	}
	for _, id := range s.lost.ids() {
		if err == nil {
			err = w.ContentManager().DeleteContent(ctx, id)
		}
	}
	return err
}
