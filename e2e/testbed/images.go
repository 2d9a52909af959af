package testbed

import (
	"context"
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
var Images = []string{"manager", "mover", "gitserver", "s3", "fileserver", "listener", "toolbox", "shell"}

// archive is the path of an image's archive.
func (t *Testbed) archive(image string) string {
	return filepath.Join(t.root, "dist", "images", image+".tar")
}

// LoadImage loads one more image, which "hack/images" wrote.
func (t *Testbed) LoadImage(ctx context.Context, name string) error {
	if err := t.provider.LoadImages(ctx, t.archive(name)); err != nil {
		return fmt.Errorf("load the image %s: %w", name, err)
	}
	return nil
}

// annotationArchive is the digest of the archives that a pod's images were loaded from.
const annotationArchive = "testbed.backup.cairn.dev/archive"

// pinImages writes the digests of the images into each Deployment's pods: the tag is always the same, and Kubernetes
// would keep the pods of older images.
func (t *Testbed) pinImages(objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		digest, err := t.digests(o)
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(o.Object, digest, "spec", "template", "metadata", "annotations",
			annotationArchive); err != nil {
			return fmt.Errorf("annotate Deployment %s: %w", o.GetName(), err)
		}
	}
	return nil
}

// digests of the images of a Deployment's containers, in their order.
func (t *Testbed) digests(deployment *unstructured.Unstructured) (string, error) {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return "", fmt.Errorf("look for the containers of Deployment %s: %w", deployment.GetName(), err)
	}
	if len(containers) == 0 {
		return "", fmt.Errorf("look for the containers of Deployment %s: there are none", deployment.GetName())
	}
	var all []string
	for i := range containers {
		container, _ := containers[i].(map[string]any)
		reference, _, err := unstructured.NestedString(container, "image")
		if err != nil {
			return "", fmt.Errorf("look for the images of Deployment %s: %w", deployment.GetName(), err)
		}
		name, _, _ := strings.Cut(reference[strings.LastIndex(reference, "/")+1:], ":")
		digest, err := digestOf(t.archive(name))
		if err != nil {
			return "", err
		}
		all = append(all, digest)
	}
	return strings.Join(all, ","), nil
}

func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("open an image's archive (make testbed-images writes them): %w", err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
