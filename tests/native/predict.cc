// Answers requests with a SavedModel, without Python.
//
//   predict MODEL REQUESTS ANSWERS
//
// The files are those of serving/replay.py: TFRecords of tf.train.Examples.

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/example/example.pb.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/lib/io/record_writer.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/public/session_options.h"

namespace {

using tensorflow::Example;
using tensorflow::Status;
using tensorflow::Tensor;

using Map = google::protobuf::Map<std::string, tensorflow::Feature>;

Status Answer(const tensorflow::SavedModelBundle& model, const Map& request,
              Map* answer) {
  const std::string& name = request.at("signature").bytes_list().value(0);
  const auto& signatures = model.GetSignatures();
  const auto found = signatures.find(name);
  if (found == signatures.end()) {
    return tensorflow::errors::NotFound("no signature ", name);
  }
  std::vector<std::pair<std::string, Tensor>> feeds;
  const auto& names = request.at("names").bytes_list();
  for (int i = 0; i < names.value_size(); ++i) {
    const auto input = found->second.inputs().find(names.value(i));
    tensorflow::TensorProto proto;
    Tensor tensor;
    if (input == found->second.inputs().end() ||
        !proto.ParseFromString(request.at("tensors").bytes_list().value(i)) ||
        !tensor.FromProto(proto)) {
      return tensorflow::errors::InvalidArgument("input ", names.value(i));
    }
    feeds.emplace_back(input->second.name(), tensor);
  }
  std::vector<std::string> aliases, fetches;
  for (const auto& output : found->second.outputs()) {
    aliases.push_back(output.first);
    fetches.push_back(output.second.name());
  }
  std::vector<Tensor> outputs;
  const Status ran = model.GetSession()->Run(feeds, fetches, {}, &outputs);
  if (!ran.ok()) return ran;
  for (size_t i = 0; i < outputs.size(); ++i) {
    tensorflow::TensorProto proto;
    outputs[i].AsProtoTensorContent(&proto);
    (*answer)["names"].mutable_bytes_list()->add_value(aliases[i]);
    (*answer)["dtypes"].mutable_int64_list()->add_value(outputs[i].dtype());
    (*answer)["tensors"].mutable_bytes_list()->add_value(
        proto.SerializeAsString());
  }
  return Status();
}

Status Run(const std::string& path, const std::string& requests,
           const std::string& answers) {
  tensorflow::SavedModelBundle model;
  Status status = tensorflow::LoadSavedModel(
      tensorflow::SessionOptions(), tensorflow::RunOptions(), path, {"serve"},
      &model);
  if (!status.ok()) return status;
  tensorflow::Env* env = tensorflow::Env::Default();
  std::unique_ptr<tensorflow::RandomAccessFile> input;
  status = env->NewRandomAccessFile(requests, &input);
  if (!status.ok()) return status;
  std::unique_ptr<tensorflow::WritableFile> output;
  status = env->NewWritableFile(answers, &output);
  if (!status.ok()) return status;
  tensorflow::io::SequentialRecordReader reader(input.get());
  tensorflow::io::RecordWriter writer(output.get());
  Example first;
  (*first.mutable_features()->mutable_feature())["version"]
      .mutable_bytes_list()
      ->add_value(TF_Version());
  status = writer.WriteRecord(first.SerializeAsString());
  tensorflow::tstring record;
  while (status.ok() && reader.ReadRecord(&record).ok()) {
    Example request, answer;
    request.ParseFromArray(record.data(), record.size());
    Map* feature = answer.mutable_features()->mutable_feature();
    const Status ran = Answer(model, request.features().feature(), feature);
    if (!ran.ok()) {
      feature->clear();
      (*feature)["error"].mutable_bytes_list()->add_value(ran.ToString());
    }
    status = writer.WriteRecord(answer.SerializeAsString());
  }
  if (!status.ok()) return status;
  status = writer.Close();
  if (!status.ok()) return status;
  return output->Close();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: predict MODEL REQUESTS ANSWERS\n";
    return 2;
  }
  const Status status = Run(argv[1], argv[2], argv[3]);
  if (!status.ok()) std::cerr << status.ToString() << "\n";
  return status.ok() ? 0 : 3;
}
