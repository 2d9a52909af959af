package testbed

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// VolumePod describes a pod that holds a claim, to fill it or to look into it.
type VolumePod struct {
	// Namespace and Name of the pod.
	Namespace, Name string
	// Claim that is mounted at /data.
	Claim string
	// User the pod runs as. 0 needs a namespace without Pod Security.
	User int64
	// Shell gives the pod a shell and a few tools in place of the toolbox.
	Shell bool
	// CPU that the pod requests, such as "250m", so that it works while other pods keep the node busy. Empty: none.
	CPU string
}

// WithVolumePod runs a pod with the claim mounted at /data, calls use, and removes the pod.
func (t *Testbed) WithVolumePod(ctx context.Context, p VolumePod, use func(ctx context.Context) error) error {
	pod := volumePod(p)
	if p.CPU != "" {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(p.CPU)}
	}
	if err := t.Client.Create(ctx, pod); err != nil {
		return fmt.Errorf("create pod %s: %w", p.Name, err)
	}
	err := t.WaitPod(ctx, client.ObjectKeyFromObject(pod))
	if err == nil {
		err = use(ctx)
	}
	return errors.Join(err, t.removePod(context.WithoutCancel(ctx), pod))
}

func (t *Testbed) removePod(ctx context.Context, pod *corev1.Pod) error {
	if err := t.Client.Delete(ctx, pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return Poll(ctx, Patience, "the end of pod "+pod.Name, func(ctx context.Context) (bool, error) {
		err := t.Client.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}

func volumePod(p VolumePod) *corev1.Pod {
	security := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), RunAsUser: new(p.User), RunAsGroup: new(p.User),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		RunAsNonRoot:   new(p.User != 0),
	}
	if p.User == 0 {
		security = &corev1.SecurityContext{RunAsUser: new(p.User)}
	}
	image, args := "cairn.local/toolbox:dev", []string{"idle"}
	if p.Shell {
		image, args = "cairn.local/shell:dev", []string{"-c", "sleep 3600"}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  new(false),
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			Containers: []corev1.Container{{
				Name: "toolbox", Image: image, Args: args, SecurityContext: security,
				VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
			}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: p.Claim},
			}}},
		},
	}
}

// WaitPod waits until a pod is ready.
func (t *Testbed) WaitPod(ctx context.Context, key client.ObjectKey) error {
	return Poll(ctx, Patience, "pod "+key.String(), func(ctx context.Context) (bool, error) {
		var pod corev1.Pod
		if err := t.Client.Get(ctx, key, &pod); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady {
				return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil, nil
			}
		}
		return false, nil
	})
}

// Fill streams a directory of this machine into a directory of a pod that runs the toolbox.
func (t *Testbed) Fill(ctx context.Context, namespace, pod, local, remote string) error {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(writeTar(writer, local)) }()
	_, err := t.Exec(ctx, namespace, pod, reader, "/toolbox", "untar", remote)
	return errors.Join(err, reader.Close())
}

// Manifest lists every entry below a directory of a pod that runs the toolbox: type, mode, owner, time, size, content.
// The last line is the digest of the others.
func (t *Testbed) Manifest(ctx context.Context, namespace, pod, dir string) (string, error) {
	return t.Exec(ctx, namespace, pod, nil, "/toolbox", "manifest", dir)
}

// writeTar leaves owners out: the pod that unpacks may not set them.
func writeTar(w io.Writer, dir string) error {
	archive := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return addToTar(archive, dir, path, entry)
	})
	if err != nil {
		return fmt.Errorf("archive %s: %w", dir, err)
	}
	return archive.Close()
}

func addToTar(archive *tar.Writer, dir, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	var target string
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	if header.Name, err = filepath.Rel(dir, path); err != nil {
		return err
	}
	header.Uid, header.Gid, header.Uname, header.Gname, header.Format = 0, 0, "", "", tar.FormatPAX
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.Copy(archive, file)
	return err
}
