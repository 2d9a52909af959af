package backend

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/internal/backend/layout"
)

// Left is what a wipe leaves, because it is not the repository's own.
type Left struct {
	// Files is the number of files.
	Files int
	// Places are the directories of other repositories and storages among them, relative to the storage.
	Places []string
}

// Errors of a wipe.
var (
	// ErrForeign means that nobody can tell which files belong to a repository.
	ErrForeign = errors.New("the data of the repository lies in the place of another")
	// ErrComesBack means that somebody still writes to a repository.
	ErrComesBack = errors.New("removed files come back")
)

// maxWipes is how often one wipe removes what somebody wrote meanwhile.
const maxWipes = 3

// Wipe removes what a repository owns: the files in its parts that have names of its own. The caller removes
// RepositoryMetadata last, and its KeeperLease. Wipe stops at the files that mark another repository or storage: it
// leaves everything in and below their directories, as well as every other file. Before each part it asks whether the
// directory still belongs to the repository.
func Wipe(ctx context.Context, s Store, directory string, owned func(context.Context) error) (Left, error) {
	files, err := s.List(ctx, directory)
	if err != nil {
		return Left{}, err
	}
	for range maxWipes {
		places, err := foreign(ctx, s, directory, files)
		if err != nil {
			return Left{}, err
		}
		for _, part := range layout.Parts(directory) {
			if slices.Contains(places, part) {
				return Left{}, fmt.Errorf("%w: %s", ErrForeign, part)
			}
		}
		for _, part := range layout.Parts(directory) {
			if err := owned(ctx); err != nil {
				return Left{}, err
			}
			if err := wipePart(ctx, s, directory, part, files, places); err != nil {
				return Left{}, err
			}
		}
		if files, err = s.List(ctx, directory); err != nil {
			return Left{}, err
		}
		if left, done := remaining(directory, files, places); done {
			return left, nil
		}
	}
	return Left{}, fmt.Errorf("%w in %s", ErrComesBack, directory)
}

// Inspect returns what lies in the directory of a repository and is not its own, and whether it holds something that
// is, beside RepositoryMetadata.
func Inspect(ctx context.Context, s Store, directory string) (others Left, own bool, _ error) {
	files, err := s.List(ctx, directory)
	if err != nil {
		return Left{}, false, err
	}
	places, err := foreign(ctx, s, directory, files)
	if err != nil {
		return Left{}, false, err
	}
	others, none := remaining(directory, files, places)
	return others, !none, nil
}

// remaining returns what a wipe has left, and whether none of it is the repository's own.
func remaining(directory string, files, places []string) (Left, bool) {
	left := Left{Places: places}
	for _, file := range files {
		if _, lease := layout.ParseKeeperLeasePath(directory, file); lease ||
			file == layout.RepositoryPath(directory) {
			continue
		}
		if isOwn(directory, file, places) {
			return Left{}, false
		}
		left.Files++
	}
	return left, true
}

// isOwn reports whether a file is the repository's own, and not in the place of another.
func isOwn(directory, file string, places []string) bool {
	return layout.IsOwn(directory, file) &&
		!slices.ContainsFunc(places, func(place string) bool { return within(file, place) })
}

// wipePart removes the repository's own files in a part. If the part has no others, it goes as a whole, which takes
// fewer requests.
func wipePart(ctx context.Context, s Store, directory, part string, files, places []string) error {
	var own []string
	others := false
	for _, file := range files {
		switch {
		case !within(file, part):
		case isOwn(directory, file, places):
			own = append(own, file)
		default:
			others = true
		}
	}
	if !others {
		return s.DeleteAll(ctx, part)
	}
	for _, file := range own {
		if err := s.Delete(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// Strangers says what a new repository in a directory would share its parts with, or returns "": files that no
// repository of Cairn's puts there, or a repository of restic's, which lies in directories of the same names.
func Strangers(ctx context.Context, s Store, directory string) (string, error) {
	files, err := s.List(ctx, directory)
	if err != nil {
		return "", err
	}
	for _, part := range layout.Parts(directory) {
		for _, file := range files {
			if within(file, part) && !layout.IsOwn(directory, file) {
				return "files in " + path.Base(part) + " that Cairn did not put there", nil
			}
		}
	}
	keys := func(file string) bool { return within(file, path.Join(directory, "keys")) }
	if slices.Contains(files, path.Join(directory, "config")) && slices.ContainsFunc(files, keys) {
		return "a repository of restic's", nil
	}
	return "", nil
}

// foreign returns the directories below a repository's directory that have the marker of another repository or
// storage, or a file of that name.
func foreign(ctx context.Context, s Store, directory string, files []string) ([]string, error) {
	var places []string
	for _, file := range files {
		place := path.Dir(file)
		if !layout.IsMarker(file) || place == directory || slices.Contains(places, place) {
			continue
		}
		own, err := isComponent(ctx, s, directory, file)
		if err != nil {
			return nil, err
		}
		if !own {
			places = append(places, place)
		}
	}
	return places, nil
}

// within reports whether a path lies below a directory.
func within(p, directory string) bool { return strings.HasPrefix(p, directory+"/") }

// DeleteSnapshot removes the ComponentResults of a Snapshot, and no other file in their directory.
func DeleteSnapshot(ctx context.Context, s Store, directory, snapshot string) error {
	files, err := s.List(ctx, layout.SnapshotPath(directory, snapshot))
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, _, own := layout.ParseSnapshotComponentPath(directory, file); !own {
			continue
		}
		if layout.IsMarker(file) {
			if own, err := isComponent(ctx, s, directory, file); err != nil {
				return err
			} else if !own {
				continue
			}
		}
		if err := s.Delete(ctx, file); err != nil {
			return err
		}
	}
	return nil
}
