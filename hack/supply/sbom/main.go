// Command sbom writes a bill of materials beside each image of dist/images, as SPDX 2.3 in JSON: the files of the image
// with their hashes, and the modules of its Go programs with versions, hashes and licences.
//
//	go run -C hack/supply ./sbom IMAGE.tar...
//
// The same image makes the same bytes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes IMAGE.spdx.json for each IMAGE.tar.
func run(images []string) error {
	if len(images) == 0 {
		return fmt.Errorf("no image is given")
	}
	licences, err := inModuleCache()
	if err != nil {
		return err
	}
	for _, name := range images {
		base, isTar := strings.CutSuffix(name, ".tar")
		if !isTar {
			return fmt.Errorf("image %s: its name does not end with .tar", name)
		}
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("open image: %w", err)
		}
		img, err := readImage(f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("read image %s: %w", name, err)
		}
		text, err := json.MarshalIndent(describe(img, licences), "", " ")
		if err != nil {
			return fmt.Errorf("describe image %s: %w", name, err)
		}
		if err := os.WriteFile(base+".spdx.json", append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write the bill of materials: %w", err)
		}
	}
	return nil
}
