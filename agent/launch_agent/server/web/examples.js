// What the field "Configuration" starts with, for each target resource.

export const RESOURCES = {
  "kubernetes": {
    label: "Kubernetes",
    example: `# A Job spec, or any custom resource with its apiVersion and kind.
# What is left out (names, image, labels, safe defaults) is filled in by the agent.
namespace: default
metadata:
  labels:
    queue: my-queue
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 60
  template:
    spec:
      restartPolicy: Never
      containers:
        - env:
            - name: MY_ENV_VAR
              value: some-value
          resources:
            requests:
              cpu: 1000m
              memory: 1Gi
`,
  },
  "local-container": {
    label: "Docker",
    example: `# Options of docker run, without their dashes.
cpus: 2
memory: 4g
`,
  },
  "local-process": { label: "Local process", example: "{}\n" },
  "sagemaker": {
    label: "Amazon SageMaker",
    example: `# A CreateTrainingJob request; names and image are filled in by the agent.
RoleArn: arn:aws:iam::123456789012:role/sagemaker-execution
ResourceConfig:
  InstanceType: ml.m5.xlarge
  InstanceCount: 1
  VolumeSizeInGB: 10
StoppingCondition:
  MaxRuntimeInSeconds: 86400
OutputDataConfig:
  S3OutputPath: s3://my-bucket/output
`,
  },
  "gcp-vertex": {
    label: "Vertex AI",
    example: `spec:
  staging_bucket: gs://my-bucket
  worker_pool_specs:
    - machine_spec:
        machine_type: n1-standard-4
      replica_count: 1
      container_spec:
        image_uri: \${image_uri}
run:
  restart_job_on_worker_restart: false
`,
  },
};
