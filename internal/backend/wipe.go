package backend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/repository/remote"
)

// Left is what a wipe leaves, because it is not the repository's own.
type Left struct {
	// Files is the number of files, and of what is neither a file nor a directory, such as a symbolic link.
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
	// ErrLink means that the data of a repository can lie in another place, to which a symbolic link leads.
	ErrLink = errors.New("something else stands in the place of a directory of the repository")
)

// maxWipes is how often one wipe removes what somebody wrote meanwhile.
const maxWipes = 3

// Wipe removes what a repository owns: the files in its parts that have names of its own. The caller removes
// RepositoryMetadata last, and its KeeperLease. Wipe stops at the files that mark another repository or storage: it
// leaves everything in and below their directories, as well as every other file. Before each part it asks whether the
// directory still belongs to the repository.
func Wipe(ctx context.Context, s Store, directory string, owned func(context.Context) error) (Left, error) {
	c, err := look(ctx, s, directory)
	if err != nil {
		return Left{}, err
	}
	for range maxWipes {
		for _, part := range layout.Parts(directory) {
			if slices.Contains(c.places, part) {
				return Left{}, fmt.Errorf("%w: %s", ErrForeign, part)
			}
		}
		for _, part := range layout.Parts(directory) {
			if err := owned(ctx); err != nil {
				return Left{}, err
			}
			if err := wipePart(ctx, s, part, c); err != nil {
				return Left{}, err
			}
		}
		for _, file := range c.beside {
			if err := s.Delete(ctx, file); err != nil {
				return Left{}, err
			}
		}
		places := c.places
		if c, err = look(ctx, s, directory); err != nil {
			return Left{}, err
		}
		if left, done := c.remaining(places); done {
			return left, nil
		}
	}
	return Left{}, fmt.Errorf("%w in %s", ErrComesBack, directory)
}

// Inspect returns what lies in the directory of a repository and is not its own, and whether it holds something that
// is, beside RepositoryMetadata. Parts of files that were being written count among the others: they are no data.
func Inspect(ctx context.Context, s Store, directory string) (others Left, own bool, _ error) {
	c, err := look(ctx, s, directory)
	if err != nil {
		return Left{}, false, err
	}
	all := len(c.files)
	c.files = slices.DeleteFunc(c.files, func(file string) bool {
		return layout.IsTemporary(directory, file) && !inPlaces(file, c.places)
	})
	others, none := c.remaining(c.places)
	others.Files += all - len(c.files)
	return others, !none, nil
}

// content is what lies in the directory of a repository.
type content struct {
	directory string
	files     []string
	// specials are what is neither a file nor a directory. None of it is the repository's own.
	specials []string
	// beside are what killed processes were writing beside the parts: some hundred bytes each. A keeper that works can
	// write such a file at any time, and tries again if it goes, so they tell of nobody who still writes.
	beside []string
	// places are the directories of other repositories and storages.
	places []string
}

// linked is a storage that can hold symbolic links.
type linked interface {
	// unlisted returns the paths below a directory that List leaves out: what is neither a file nor a directory, and
	// the files that are being written, or were when their writer was killed.
	unlisted(ctx context.Context, directory string) (specials, hidden []string, err error)
	// lstat returns the mode of what has a path, and does not follow a link. It returns ErrNotFound if nothing has it.
	lstat(ctx context.Context, path string) (fs.FileMode, error)
	// reaches returns ErrNotFound if a link leads nowhere.
	reaches(ctx context.Context, path string) error
}

// dangling returns the first link on the way to a directory that leads nowhere, or "". Behind it the directory looks
// empty.
func dangling(ctx context.Context, s linked, directory string) (string, error) {
	for _, p := range wayTo(directory) {
		mode, err := s.lstat(ctx, p)
		if errors.Is(err, ErrNotFound) {
			return "", nil
		}
		if err == nil && isSpecial(mode) {
			if err = s.reaches(ctx, p); errors.Is(err, ErrNotFound) {
				return p, nil
			}
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// wayTo returns the paths of the directories above a directory, and its own.
func wayTo(directory string) []string {
	way := []string{directory}
	for up := path.Dir(directory); up != "."; up = path.Dir(up) {
		way = append(way, up)
	}
	slices.Reverse(way)
	return way
}

// look reads what lies in the directory of a repository. It returns ErrLink if a part is no directory.
func look(ctx context.Context, s Store, directory string) (content, error) {
	c := content{directory: directory}
	var err error
	if c.files, err = s.List(ctx, directory); err != nil {
		return content{}, err
	}
	if x, ok := s.(linked); ok {
		var hidden []string
		if c.specials, hidden, err = x.unlisted(ctx, directory); err != nil {
			return content{}, err
		}
		c.files = append(c.files, hidden...)
		if len(c.files) == 0 {
			link, err := dangling(ctx, x, directory)
			if err == nil && link != "" {
				err = fmt.Errorf("%w: %s", ErrLink, link)
			}
			if err != nil {
				return content{}, err
			}
		}
	}
	for _, part := range layout.Parts(directory) {
		if slices.Contains(c.specials, part) {
			return content{}, fmt.Errorf("%w: %s", ErrLink, part)
		}
	}
	if c.places, err = foreign(ctx, s, directory, c.files); err != nil {
		return content{}, err
	}
	c.files = slices.DeleteFunc(c.files, func(file string) bool {
		beside := layout.IsBeside(directory, file) && layout.IsTemporary(directory, file) && !inPlaces(file, c.places)
		if beside {
			c.beside = append(c.beside, file)
		}
		return beside
	})
	return c, nil
}

// inPlaces reports whether a path lies in the directory of another repository or storage.
func inPlaces(p string, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool { return within(p, place) })
}

// isListed reports whether List names an entry.
func isListed(name string, mode fs.FileMode) bool {
	return mode.IsRegular() && !strings.HasPrefix(name, remote.TempPrefix)
}

// isHiddenFile reports whether an entry is a file that List does not name.
func isHiddenFile(name string, mode fs.FileMode) bool {
	return mode.IsRegular() && !isListed(name, mode)
}

// isSpecial reports whether an entry is neither a file nor a directory.
func isSpecial(mode fs.FileMode) bool { return !mode.IsDir() && !mode.IsRegular() }

// remaining returns what a wipe has left, and whether none of it is the repository's own. places are the directories
// of others before the wipe.
func (c content) remaining(places []string) (Left, bool) {
	left := Left{Files: len(c.specials), Places: places}
	for _, file := range c.files {
		if _, lease := layout.ParseKeeperLeasePath(c.directory, file); lease ||
			file == layout.RepositoryPath(c.directory) {
			continue
		}
		if isOwn(c.directory, file, places) {
			return Left{}, false
		}
		left.Files++
	}
	return left, true
}

// isOwn reports whether a file is the repository's own, and not in the place of another.
func isOwn(directory, file string, places []string) bool {
	return layout.IsOwn(directory, file) && !inPlaces(file, places)
}

// wipePart removes the repository's own files in a part. If the part has nothing else, it goes as a whole, which takes
// fewer requests. The second copies of RepositoryMetadata and of the key go first: they must not bring back a
// repository of which a wipe has removed a part.
func wipePart(ctx context.Context, s Store, part string, c content) error {
	var own []string
	others := slices.ContainsFunc(c.specials, func(p string) bool { return within(p, part) })
	for _, file := range c.files {
		switch {
		case file == part: // a person's
			others = true
		case !within(file, part):
		case isOwn(c.directory, file, c.places):
			own = append(own, file)
		default:
			others = true
		}
	}
	for _, spare := range layout.SparePaths(c.directory) {
		if !slices.Contains(own, spare) {
			continue
		}
		if err := s.Delete(ctx, spare); err != nil {
			return err
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
