// See cuda_plugin_loader.h.
#include "kernels/cuda_plugin_loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace ebb::kernels {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFile = "libebb_cuda.so";

Error refuse(const std::string& path, const std::string& why) {
  return unsupported("CUDA backend " + path + ": " + why);
}

std::string loader_says() {
  const char* text = dlerror();
  return text == nullptr ? "the system does not say why" : text;
}

}  // namespace

std::vector<std::string> cuda_plugin_paths() {
  if (const char* set = std::getenv("EBB_CUDA_PLUGIN"); set != nullptr && *set != 0) return {set};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {kFile};
  const fs::path folder = program.parent_path();
  return {(folder / kFile).string(), (folder.parent_path() / "lib" / kFile).string()};
}

Result<const CudaPlugin*> load_cuda_plugin() {
  const std::vector<std::string> paths = cuda_plugin_paths();
  std::error_code error;
  for (const std::string& path : paths) {
    if (fs::exists(path, error)) return load_cuda_plugin(path);
  }
  return refuse(paths.front(),
                "there is no such file (this program was built without CUDA, or "
                "EBB_CUDA_PLUGIN names the wrong one)");
}

Result<const CudaPlugin*> load_cuda_plugin(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return refuse(path, "there is no such file");
  // An absolute path: dlopen would look for a bare name elsewhere. Never closed: objects made by
  // the plugin, and threads of the driver, would outlive its code.
  void* library = dlopen(fs::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return refuse(path, "does not load: " + loader_says());
  void* symbol = dlsym(library, kCudaPluginSymbol);
  if (symbol == nullptr) {
    return refuse(path, std::string("has no symbol ") + kCudaPluginSymbol +
                            ": it is another library, or of another version");
  }
  const CudaPlugin* plugin = reinterpret_cast<CudaPluginEntry>(symbol)();
  if (plugin == nullptr || plugin->abi != kCudaPluginAbi ||
      plugin->struct_bytes != sizeof(CudaPlugin)) {
    const std::string found = plugin == nullptr
                                  ? "nothing"
                                  : "abi " + std::to_string(plugin->abi) + ", " +
                                        std::to_string(plugin->struct_bytes) + " bytes";
    return refuse(path, "is of another build than this program: it has " + found +
                            ", needed: abi " + std::to_string(kCudaPluginAbi) + ", " +
                            std::to_string(sizeof(CudaPlugin)) + " bytes");
  }
  return plugin;
}

}  // namespace ebb::kernels
