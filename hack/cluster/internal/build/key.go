package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const modulePath = "github.com/cairn-backup/cairn/hack/cluster"

// ErrNoModule says that the sources of this module are not near the directory
// that FindModule was asked about.
var ErrNoModule = errors.New("the sources of " + modulePath + " are not here")

// FindModule returns the directory of this module's sources: dir itself, one
// of its parents, or hack/cluster below one of them. It returns ErrNoModule if
// there is none.
func FindModule(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		for _, candidate := range []string{at, filepath.Join(at, "hack", "cluster")} {
			b, err := os.ReadFile(filepath.Join(candidate, "go.mod"))
			if err == nil && strings.Contains("\n"+string(b), "\nmodule "+modulePath+"\n") {
				return candidate, nil
			}
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("look for the module from %s: %w", dir, ErrNoModule)
		}
	}
}

// Key names a build of the module in the directory module: the first 16
// hexadecimal digits of a SHA-256 over its go.mod, go.sum and Go files (also
// those of the modules nested in it), tests left out, and the architecture.
func Key(module string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH)
	err := filepath.WalkDir(module, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != module && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !isSource(name) {
			return nil
		}
		rel, err := filepath.Rel(module, p)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		// The length keeps one file's end from passing as the next one's name.
		fmt.Fprintf(h, "%s %d\n", filepath.ToSlash(rel), len(b))
		_, err = h.Write(b)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash the sources in %s: %w", module, err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func isSource(name string) bool {
	if name == "go.mod" || name == "go.sum" {
		return true
	}
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// CacheDir returns the directory in which builds of the module live, one
// directory per Key: cairn/cluster in the user's cache directory.
func CacheDir() (string, error) {
	base, err := os.UserCacheDir() // XDG_CACHE_HOME, else ~/.cache
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(base, "cairn", "cluster"), nil
}

// DefaultDir returns the directory of the programs built from the module's
// sources as they are now, whether or not they have been built.
func DefaultDir(module string) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	key, err := Key(module)
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, key), nil
}
