package testbed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Images are the archives that "make testbed-images" writes and Deploy loads.
var Images = []string{"manager", "mover", "gitserver", "s3", "toolbox"}

// archive is the path of an image's archive.
func (t *Testbed) archive(image string) string {
	return filepath.Join(t.root, "dist", "images", image+".tar")
}

// annotationArchive is the digest of the archive that a pod's image was loaded from.
const annotationArchive = "testbed.backup.cairn.dev/archive"

// pinImages writes the digest of the image into each Deployment's pods: the tag is always the same, and Kubernetes would
// keep the pods of an older image.
func (t *Testbed) pinImages(objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil || len(containers) != 1 {
			return fmt.Errorf("look for the container of Deployment %s: there are %d: %w", o.GetName(), len(containers), err)
		}
		reference, _, err := unstructured.NestedString(containers[0].(map[string]any), "image")
		if err != nil {
			return fmt.Errorf("look for the image of Deployment %s: %w", o.GetName(), err)
		}
		name, _, _ := strings.Cut(reference[strings.LastIndex(reference, "/")+1:], ":")
		digest, err := digestOf(t.archive(name))
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(o.Object, digest, "spec", "template", "metadata", "annotations", annotationArchive); err != nil {
			return fmt.Errorf("annotate Deployment %s: %w", o.GetName(), err)
		}
	}
	return nil
}

func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("open an image's archive (make testbed-images writes them): %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
