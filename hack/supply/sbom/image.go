package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha1" // SPDX asks for it besides SHA-256
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
)

// image is what an archive of an image holds.
type image struct {
	// ref is its name and tag, id the digest of its configuration, which names all of it.
	ref, id string
	files   []file
}

// file is a regular file of an image.
type file struct {
	name         string
	sha1, sha256 string
	// built says what a Go program is made of. It is nil for every other file.
	built *debug.BuildInfo
}

// maxFile bounds a file of an image, in bytes.
const maxFile = 1 << 30

// readImage reads an archive as "docker save" writes it, with one layer.
func readImage(r io.ReaderAt) (image, error) {
	outer := io.NewSectionReader(r, 0, 1<<40)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	text, err := member(outer, "manifest.json")
	if err == nil {
		err = json.Unmarshal(text, &manifest)
	}
	switch {
	case err != nil:
		return image{}, fmt.Errorf("manifest.json: %w", err)
	case len(manifest) != 1 || len(manifest[0].RepoTags) != 1 || len(manifest[0].Layers) != 1:
		return image{}, errors.New("it is not one image with one name and one layer")
	}
	config, err := member(outer, manifest[0].Config)
	if err != nil {
		return image{}, err
	}
	sum := sha256.Sum256(config)
	out := image{ref: manifest[0].RepoTags[0], id: hex.EncodeToString(sum[:])}
	if _, err := outer.Seek(0, io.SeekStart); err != nil {
		return image{}, err
	}
	layer, err := find(outer, manifest[0].Layers[0])
	if err != nil {
		return image{}, err
	}
	out.files, err = readLayer(layer)
	return out, err
}

// member returns the content of one file of an archive.
func member(r io.ReadSeeker, name string) ([]byte, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	content, err := find(r, name)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(content, 1<<20))
}

// find reads an archive up to the content of one file.
func find(r io.Reader, name string) (io.Reader, error) {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		if h.Name == name {
			return archive, nil
		}
	}
}

// readLayer returns the regular files of a layer, by name. A second name of a file is no file of its own.
func readLayer(r io.Reader) ([]file, error) {
	var out []file
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.name, b.name) })
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read layer: %w", err)
		case h.Typeflag != tar.TypeReg:
			continue
		case h.Size > maxFile:
			return nil, fmt.Errorf("file %s has %d bytes", h.Name, h.Size)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", h.Name, err)
		}
		short, long := sha1.Sum(content), sha256.Sum256(content)
		f := file{name: h.Name, sha1: hex.EncodeToString(short[:]), sha256: hex.EncodeToString(long[:])}
		if built, err := buildinfo.Read(bytes.NewReader(content)); err == nil {
			f.built = built
		}
		out = append(out, f)
	}
}
