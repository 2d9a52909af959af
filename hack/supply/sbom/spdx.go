package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// document is SPDX 2.3, as far as it is used.
type document struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Files         []spdxFile     `json:"files"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID        string        `json:"SPDXID"`
	Name      string        `json:"name"`
	Version   string        `json:"versionInfo,omitempty"`
	Download  string        `json:"downloadLocation"`
	Analyzed  bool          `json:"filesAnalyzed"`
	Concluded string        `json:"licenseConcluded"`
	Declared  string        `json:"licenseDeclared"`
	Copyright string        `json:"copyrightText"`
	Purpose   string        `json:"primaryPackagePurpose,omitempty"`
	Checksums []checksum    `json:"checksums,omitempty"`
	Refs      []externalRef `json:"externalRefs,omitempty"`
	Comment   string        `json:"comment,omitempty"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxFile struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"fileName"`
	Checksums []checksum `json:"checksums"`
	Concluded string     `json:"licenseConcluded"`
	Copyright string     `json:"copyrightText"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// The IDs of the document and of the image in it.
const (
	idDocument = "SPDXRef-DOCUMENT"
	idImage    = "SPDXRef-Image"
)

// describe returns the bill of materials of an image. It has no time of its own: the same image makes the same
// document.
func describe(img image, licence func(module, version string) string) document {
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: idDocument, Name: img.ref,
		Namespace: "urn:sha256:" + img.id,
		Creation:  creation{Created: "1970-01-01T00:00:00Z", Creators: []string{"Tool: cairn-sbom"}},
	}
	d.add(idDocument, "DESCRIBES", spdxPackage{
		ID: idImage, Name: img.ref, Version: "sha256:" + img.id, Purpose: "CONTAINER",
		Concluded: unknown, Declared: unknown,
	})
	for i, f := range img.files {
		id := fmt.Sprintf("SPDXRef-File-%d", i)
		d.Files = append(d.Files, spdxFile{
			ID: id, Name: "/" + strings.TrimPrefix(path.Clean(f.name), "/"), Concluded: unknown, Copyright: unknown,
			Checksums: []checksum{{"SHA1", f.sha1}, {"SHA256", f.sha256}},
		})
		d.Relationships = append(d.Relationships, relationship{idImage, "CONTAINS", id})
		if f.built != nil {
			d.program(id, f.built, licence)
		}
	}
	return d
}

// program adds the modules of a Go program.
func (d *document) program(file string, built *debug.BuildInfo, licence func(module, version string) string) {
	d.add(file, "GENERATED_FROM", modulePackage(&built.Main, licence))
	main := idOf(&built.Main)
	d.add(main, "DEPENDS_ON", modulePackage(&debug.Module{
		Path: "stdlib", Version: strings.TrimPrefix(built.GoVersion, "go"),
	}, func(string, string) string { return "BSD-3-Clause" }))
	for _, m := range built.Deps {
		for m.Replace != nil { // what was built is the replacement
			m = m.Replace
		}
		d.add(main, "DEPENDS_ON", modulePackage(m, licence))
	}
}

// add adds a package that is not in the document yet, and how it is related to something.
func (d *document) add(from, how string, p spdxPackage) {
	p.Download, p.Copyright = unknown, unknown
	if !slices.ContainsFunc(d.Packages, func(have spdxPackage) bool { return have.ID == p.ID }) {
		d.Packages = append(d.Packages, p)
	}
	if r := (relationship{from, how, p.ID}); !slices.Contains(d.Relationships, r) {
		d.Relationships = append(d.Relationships, r)
	}
}

// notInID is what an ID can't have.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func idOf(m *debug.Module) string {
	return "SPDXRef-Module-" + notInID.ReplaceAllString(m.Path+"-"+m.Version, "-")
}

func modulePackage(m *debug.Module, licence func(module, version string) string) spdxPackage {
	p := spdxPackage{
		ID: idOf(m), Name: m.Path, Version: m.Version, Purpose: "LIBRARY",
		Concluded: unknown, Declared: licence(m.Path, m.Version),
	}
	locator := "pkg:golang/" + m.Path
	if m.Version != "" && m.Version != "(devel)" {
		locator += "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	}
	p.Refs = []externalRef{{"PACKAGE-MANAGER", "purl", locator}}
	if sum, ok := strings.CutPrefix(m.Sum, "h1:"); ok {
		if raw, err := base64.StdEncoding.DecodeString(sum); err == nil {
			p.Checksums = []checksum{{"SHA256", hex.EncodeToString(raw)}}
			p.Comment = "The checksum is the hash of go.sum, in hexadecimal digits."
		}
	}
	return p
}
