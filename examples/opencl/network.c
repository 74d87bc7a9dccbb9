// network.c: a small neural network: 64 inputs, a layer of 48 with ReLU, a layer of 10, softmax. The CPU
// computes the same.
//   cc network.c -lOpenCL -lm -o network && cuse-dxg run --profile intel-tgl -- ./network
#include <math.h>
#include <string.h>

#include "run.h"

enum { kSamples = 100, kInputs = 64, kHidden = 48, kOutputs = 10 };

static const char* source =
    "kernel void layer(global const float* in, global const float* weights, global const float* bias,\n"
    "                  global float* out, int inputs, int relu) {\n"
    "  const int neuron = get_global_id(0), sample = get_global_id(1), neurons = get_global_size(0);\n"
    "  float sum = bias[neuron];\n"
    "  for (int i = 0; i < inputs; ++i) sum = fma(in[sample * inputs + i], weights[neuron * inputs + i], "
    "sum);\n"
    "  out[sample * neurons + neuron] = relu ? fmax(sum, 0.0f) : sum;\n"
    "}\n"
    "kernel void softmax(global float* values, int count) {\n"
    "  global float* v = values + get_global_id(0) * count;\n"
    "  float most = v[0], sum = 0;\n"
    "  for (int i = 1; i < count; ++i) most = fmax(most, v[i]);\n"
    "  for (int i = 0; i < count; ++i) sum += v[i] = exp(v[i] - most);\n"
    "  for (int i = 0; i < count; ++i) v[i] /= sum;\n"
    "}\n";

static unsigned state = 1;
static void fill(float* values, size_t count, float scale) {
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values[i] = ((float)(state >> 8) / 16777216.f - 0.5f) * scale;
  }
}

static void layer(const float* in, const float* weights, const float* bias, float* out, int inputs,
                  int neurons, int relu) {
  for (int sample = 0; sample < kSamples; ++sample)
    for (int neuron = 0; neuron < neurons; ++neuron) {
      float sum = bias[neuron];
      for (int i = 0; i < inputs; ++i) sum = fmaf(in[sample * inputs + i], weights[neuron * inputs + i], sum);
      out[sample * neurons + neuron] = relu ? fmaxf(sum, 0.f) : sum;
    }
}

static float in[kSamples * kInputs], hidden[kSamples * kHidden], out[kSamples * kOutputs],
    found[kSamples * kOutputs];
static float first[kHidden * kInputs], first_bias[kHidden], second[kOutputs * kHidden], second_bias[kOutputs];

int main(void) {
  fill(in, kSamples * kInputs, 2.f);
  fill(first, kHidden * kInputs, 1.f);
  fill(first_bias, kHidden, 1.f);
  fill(second, kOutputs * kHidden, 1.f);
  fill(second_bias, kOutputs, 1.f);
  layer(in, first, first_bias, hidden, kInputs, kHidden, 1);
  layer(hidden, second, second_bias, out, kHidden, kOutputs, 0);

  open_device(source);
  cl_kernel a_layer = get_kernel("layer"), softmax = get_kernel("softmax");
  cl_mem of_hidden = new_buffer(sizeof hidden, NULL), of_out = new_buffer(sizeof out, NULL);
  set_buffer(a_layer, 0, new_buffer(sizeof in, in));
  set_buffer(a_layer, 1, new_buffer(sizeof first, first));
  set_buffer(a_layer, 2, new_buffer(sizeof first_bias, first_bias));
  set_buffer(a_layer, 3, of_hidden);
  set_int(a_layer, 4, kInputs);
  set_int(a_layer, 5, 1);
  run(a_layer, kHidden, kSamples, 16, 1);
  set_buffer(a_layer, 0, of_hidden);
  set_buffer(a_layer, 1, new_buffer(sizeof second, second));
  set_buffer(a_layer, 2, new_buffer(sizeof second_bias, second_bias));
  set_buffer(a_layer, 3, of_out);
  set_int(a_layer, 4, kHidden);
  set_int(a_layer, 5, 0);
  run(a_layer, kOutputs, kSamples, kOutputs, 1);
  read_buffer(of_out, found, sizeof found);
  if (memcmp(found, out, sizeof out) != 0)
    return fprintf(stderr, "the layers are not bit for bit those of the CPU\n"), 1;

  set_buffer(softmax, 0, of_out);
  set_int(softmax, 1, kOutputs);
  run(softmax, kSamples, 1, 1, 1);
  read_buffer(of_out, found, sizeof found);
  for (int sample = 0; sample < kSamples; ++sample) {
    float* v = out + sample * kOutputs;
    float most = v[0];
    double sum = 0;
    for (int i = 1; i < kOutputs; ++i) most = fmaxf(most, v[i]);
    for (int i = 0; i < kOutputs; ++i) sum += exp((double)v[i] - (double)most);
    for (int i = 0; i < kOutputs; ++i) {
      const double wanted = exp((double)v[i] - (double)most) / sum;
      if (fabs(found[sample * kOutputs + i] - wanted) > 1e-6)
        return fprintf(stderr, "sample %d, output %d is %g, not %g\n", sample, i,
                       (double)found[sample * kOutputs + i], wanted),
               1;
    }
  }
  printf("network: %d samples, all right\n", kSamples);
  return 0;
}
