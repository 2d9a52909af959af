package testbed

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// manager is the Deployment of the manager.
var manager = client.ObjectKey{Namespace: SystemNamespace, Name: "cairn-manager"}

// pushgateway is the image, the container and the port of config/pushgateway. pushgatewayService is the name of its
// Service and of its NetworkPolicy.
const (
	pushgateway        = "pushgateway"
	pushgatewayService = "cairn-pushgateway"
)

// DeployPushgateway puts a Pushgateway beside the manager with the component of config/pushgateway, as a user does. The
// manager starts anew.
func (t *Testbed) DeployPushgateway(ctx context.Context) error {
	if err := t.LoadImage(ctx, pushgateway); err != nil {
		return err
	}
	if err := t.applyDir(ctx, filepath.Join(t.root, "config", "testdata", "with-pushgateway")); err != nil {
		return fmt.Errorf("install the Pushgateway: %w", err)
	}
	return t.waitDeployment(ctx, manager)
}

// RemovePushgateway makes the manager what Deploy made of it.
func (t *Testbed) RemovePushgateway(ctx context.Context) error {
	if err := t.applyDir(ctx, filepath.Join(t.root, "config", "default")); err != nil {
		return fmt.Errorf("install Cairn: %w", err)
	}
	named := metav1.ObjectMeta{Namespace: SystemNamespace, Name: pushgatewayService}
	for what, object := range map[string]client.Object{
		"Service": &corev1.Service{ObjectMeta: named}, "NetworkPolicy": &networkingv1.NetworkPolicy{ObjectMeta: named},
	} {
		if err := t.Client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete the %s of the Pushgateway: %w", what, err)
		}
	}
	return t.waitDeployment(ctx, manager)
}

// StopPushgateway takes the Pushgateway out of the manager's pod. The manager starts anew and still pushes to it.
func (t *Testbed) StopPushgateway(ctx context.Context) error {
	deployment, err := t.deployment(ctx, manager)
	if err != nil {
		return err
	}
	before := deployment.DeepCopy()
	var stay []corev1.Container
	for _, c := range deployment.Spec.Template.Spec.Containers {
		if c.Name != pushgateway {
			stay = append(stay, c)
		}
	}
	deployment.Spec.Template.Spec.Containers = stay
	if err := t.Client.Patch(ctx, deployment, client.StrategicMergeFrom(before),
		client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("stop the Pushgateway: %w", err)
	}
	return t.waitDeployment(ctx, manager)
}

// Pushed are the metrics that a Prometheus would scrape from the Pushgateway, by name.
func (t *Testbed) Pushed(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	set, err := kubernetes.NewForConfig(t.Config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	text, err := set.CoreV1().Services(SystemNamespace).
		ProxyGet("http", pushgatewayService, pushgateway, "/metrics", nil).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the Pushgateway's metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("parse the Pushgateway's metrics: %w", err)
	}
	return families, nil
}
