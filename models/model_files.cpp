#include "models/model_files.h"

#include <sys/stat.h>

#include "models/opened_model.h"

namespace ebb::models {

Result<std::unique_ptr<ModelFiles>> ModelFiles::open(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode))
    return open_hugging_face_model(path);
  if (path.ends_with(".safetensors") || path.ends_with(".json"))
    return invalid("model file " + path +
                   ": a model of safetensors is opened by its directory, not by one of its files");
  return open_gguf_model(path);
}

}  // namespace ebb::models
