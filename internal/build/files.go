package build

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/kustomize/api/konfig"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// plain reads all YAML files of a directory and below, sorted by name.
func (b *builder) plain(dir string) []source {
	var found []source
	err := fs.WalkDir(b.root.FS(), dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case b.ctx.Err() != nil:
			return fs.SkipAll
		case name != dir && entry.IsDir() && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case name != dir && entry.IsDir() && b.submodule(name):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			if !b.link(name) {
				return nil
			}
		}
		if name != dir && isKustomization(entry.Name()) {
			b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "",
				"is a kustomization below a directory that has none, so "+
					"kustomize would not build it: name its folder as a resource in a kustomization.yaml in %s, or "+
					"set the path to its folder", dir)
			return nil
		}
		if isYAML(name) {
			found = append(found, b.plainFile(name)...)
		}
		return nil
	})
	if err != nil {
		b.report(v1alpha1.ReasonBuildFailed, dir, 0, 0, "", "%s", statProblem(err, "directory"))
	}
	return found
}

// submodule reports whether a directory is a submodule, and reports it as a mistake: what is missing there would be
// removed. A clone with its files is no different from the manager's checkout, which never has them.
func (b *builder) submodule(dir string) bool {
	info, err := b.root.Stat(path.Join(dir, ".git"))
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	b.report(v1alpha1.ReasonBuildFailed, dir, 0, 0, "",
		"is a Git submodule, which is not followed: commit its files, or use a PolicySync for its repository")
	return true
}

// link reports whether a symbolic link leads to a file. A link to a directory is a mistake: following it could go
// round in circles, and ignoring it would silently leave out policy.
func (b *builder) link(name string) bool {
	info, err := b.root.Stat(name)
	switch {
	case err != nil:
		b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "", "%s", statProblem(err, "symbolic link"))
		return false
	case info.IsDir():
		b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "",
			"symbolic link to a directory is not followed: remove it, or name the directory in a kustomization.yaml")
		return false
	}
	return true
}

func (b *builder) plainFile(name string) []source {
	data, ok := b.read(name, true)
	if !ok {
		return nil
	}
	return b.sources(b.parse(name, data))
}

func isKustomization(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), name)
}

func isYAML(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".yaml" || ext == ".yml"
}

// read returns the content of a file within the limits. YAML must be text.
func (b *builder) read(name string, yaml bool) ([]byte, bool) {
	if b.files++; b.files > b.opts.Limits.Files {
		if b.files == b.opts.Limits.Files+1 {
			b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "",
				"is beyond the limit of %d files: split the directory over several PolicySyncs", b.opts.Limits.Files)
		}
		return nil, false
	}
	data, err := b.readAll(name)
	switch {
	case err != nil:
		b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "", "%s", statProblem(err, "file"))
		return nil, false
	case int64(len(data)) > b.opts.Limits.FileBytes:
		b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "",
			"file is larger than %d bytes: remove it, policy files are small", b.opts.Limits.FileBytes)
		return nil, false
	}
	if b.bytes += int64(len(data)); b.bytes > b.opts.Limits.Bytes {
		b.report(v1alpha1.ReasonBuildFailed, name, 0, 0, "",
			"file brings the directory over the limit of %d bytes: split the directory over several PolicySyncs",
			b.opts.Limits.Bytes)
		return nil, false
	}
	if yaml {
		if line, problem := notText(data); problem != "" {
			b.report(v1alpha1.ReasonBuildFailed, name, 0, line, "", "%s", problem)
			return nil, false
		}
	}
	return data, true
}

// readAll reads at most one byte more than the limit.
func (b *builder) readAll(name string) ([]byte, error) {
	info, err := b.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, errors.New("not a regular file")
	}
	f, err := b.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, b.opts.Limits.FileBytes+1))
}

// notText returns why data can't be YAML that a person wrote, and in which line.
func notText(data []byte) (line int, problem string) {
	if bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")) {
		return 1, "file is a pointer of Git LFS, not its content: commit the file without LFS"
	}
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) || looksLikeUTF16(data) {
		return 1, "file is UTF-16: save it as UTF-8"
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		at := 0
		for at < len(data) {
			r, size := utf8.DecodeRune(data[at:])
			if r == 0 || r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return 1 + bytes.Count(data[:at], []byte("\n")),
			"file is binary, not YAML text in UTF-8: remove it or give it another extension"
	}
	for _, marker := range []string{"<<<<<<<", ">>>>>>>", "|||||||"} {
		if at := bytes.Index(append([]byte("\n"), data...), []byte("\n"+marker)); at >= 0 {
			return 1 + bytes.Count(data[:at], []byte("\n")), "file contains a merge conflict (" + marker +
				"): resolve it and commit again"
		}
	}
	return 0, ""
}

// looksLikeUTF16 recognises UTF-16 without a byte order mark: in ASCII text every second byte is zero.
func looksLikeUTF16(data []byte) bool {
	head := data[:min(len(data), 512)&^1]
	var odd, even int
	for i, c := range head {
		if c == 0 && i%2 == 0 {
			even++
		} else if c == 0 {
			odd++
		}
	}
	return len(head) >= 4 && max(odd, even) >= len(head)*3/8 && min(odd, even) == 0
}

// statProblem explains why something can't be opened.
func statProblem(err error, what string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return what + " does not exist: check its name, and that it is committed"
	case strings.Contains(err.Error(), "escapes"): // os.Root has no sentinel for it
		return what + " leads out of the repository: remove it or let it point inside"
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return what + " can't be read: " + err.Error()
}
